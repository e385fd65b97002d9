"""`chaski provision` and `chaski deprovision`."""
