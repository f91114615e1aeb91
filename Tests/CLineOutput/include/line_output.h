// The tests' output line by line. There is nothing to call: it is enough to be linked.
