"""Redis Cluster: requests to many nodes, and writes to several of them."""
