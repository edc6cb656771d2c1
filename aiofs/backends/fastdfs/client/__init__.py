"""The client of FastDFS: the protocol, the connections, and the choice of a server. It does not know the driver."""
