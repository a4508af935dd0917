"""What a Redis Cluster needs besides: many nodes, and writes to several of them."""
