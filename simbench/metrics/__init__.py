"""Every number that simbench gives. One module per family; `registry` knows them by key."""
