"""All cases, in blocks: those of one block take turns, so that they can be compared."""
from cases import LABELS, PROTOCOLS, ColdFills, Hits, IdleConnections, NewConnections, SecondClient, Stored
from cases_on_disk import ColdFillsToDisk, disk_block
from process import GENERATOR_CORE, SERVER_CORE, Setup


def all_cases(idle, stored, disk_mib):
    """The blocks: so many idle connections, so many stored responses, so many MiB of bodies of one size on a disk."""
    blocks = [[Hits(protocol, label)] for protocol in PROTOCOLS for label in LABELS]
    blocks += [[NewConnections(resumed=False)], [NewConnections(resumed=True)], [ColdFills()], [ColdFillsToDisk()],
               [SecondClient()], [IdleConnections(idle)]]
    # Of the longer ones more: a fast disk reads much within a second, and what comes again is not cold.
    blocks += [disk_block(label, mib) for label, mib in (('32 KB', disk_mib), ('1 MB', 2 * disk_mib), ('64 MB', 4 * disk_mib))]
    both = f'{SERVER_CORE},{GENERATOR_CORE}'
    for protocol, label in (('HTTP/1.1', '1 KB'), ('HTTPS', '32 KB')):
        blocks.append([Hits(protocol, label, setup, more, 'growth', ('lectern', 'nginx', 'haproxy'))
                       for setup, more in ((Setup(), ', 1 core'), (Setup(threads=2, cores=both), ', 2 cores'))])
    return [*blocks, [Stored(n) for n in stored]]
