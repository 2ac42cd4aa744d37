"""What Open MPI's launcher must be told to find that a network or a host is gone, and to end the job on all hosts.

By default it asks after five minutes without a message, and gives up three minutes later. With these it gives up after
20 to 30 s. A network that is away for 15 s or less ends no job: one of the four probes comes after that.
"""

KEEPALIVE = {  # of the connections between mpirun and its daemons, in seconds and in number
    "OMPI_MCA_oob_tcp_keepalive_time": "10",
    "OMPI_MCA_oob_tcp_keepalive_intvl": "5",
    "OMPI_MCA_oob_tcp_keepalive_probes": "4",
}

EXPORTS = "\n".join([
    "# Where Open MPI's mpirun starts the ranks: it ends the job half a minute after a host or the network is lost",
    *(f"export {name}={value}" for name, value in KEEPALIVE.items()),
])  # fmt: skip
