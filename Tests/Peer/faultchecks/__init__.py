"""What the peer does wrong on demand; check_faults.py carries it out."""
