"""Many videos of one kind of object: what there is, and its frames one by one."""
