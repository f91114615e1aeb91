import Workflow

print("child")
