"""Redis Cluster: which node keeps a partition, and requests to many nodes at once."""
