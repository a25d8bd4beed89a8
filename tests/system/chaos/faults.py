"""What a step of the schedule does: it begins, lasts, and ends.  A fault says whether it has fired: whether the
system was in a state in which it could do any harm."""

import os
import signal
import threading

COMMAND_LIMIT = 40  # seconds, of handoff, promote, demote


class Fault(threading.Thread):
    """One step, in a thread of its own.  held: what of the world it has in its hands."""

    def __init__(self, world, step, member, other, held):
        super().__init__(daemon=True)
        self.world, self.step, self.member, self.other, self.held = world, step, member, other, held
        self.fired = False
        self.error = None
        self.over = threading.Event()  # ends it early

    def run(self):
        try:
            ACTIONS[self.step.kind](self)
        except Exception as error:  # pylint: disable=broad-except
            self.error = error
        finally:
            self.world.busy.difference_update(self.held)

    def last(self):
        self.over.wait(self.step.lasts)


def send(process, number):
    os.kill(process.pid, number)


def stopped_while(fault, process):
    send(process, signal.SIGSTOP)
    try:
        fault.fired = True
        fault.last()
    finally:
        send(process, signal.SIGCONT)


def kill_the_daemon(fault):
    fault.member.node.kill()
    fault.fired = True
    fault.last()
    fault.member.start_daemon()


def stop_the_daemon(fault):
    stopped_while(fault, fault.member.node.process)


def restart_the_daemon(fault):
    fault.member.node.stop()
    fault.fired = True
    fault.last()
    fault.member.start_daemon()


def kill_the_app(fault):
    fault.member.app.kill()
    fault.member.app.wait()
    fault.fired = True
    fault.last()
    fault.member.start_app()


def stop_the_app(fault):
    stopped_while(fault, fault.member.app)


def parted_while(fault, links):
    network = fault.world.network
    network.block(links)
    try:
        fault.last()
    finally:
        network.unblock(links)
        fault.fired = any(network.held[link] for link in links)


def both_ways(one, others):
    return {(one, other) for other in others} | {(other, one) for other in others}


def one_way(fault, one, other):
    return {(one, other) if fault.step.forth else (other, one)}


def part_two_nodes(fault):
    parted_while(fault, both_ways(fault.member.name, [fault.other.name]))


def part_two_nodes_one_way(fault):
    parted_while(fault, one_way(fault, fault.member.name, fault.other.name))


def cut_off_from_the_others(fault):
    parted_while(fault, both_ways(fault.member.name, [n for n in fault.world.members if n != fault.member.name]))


def cut_off_from_all(fault):
    others = [name for name in fault.world.members if name != fault.member.name]
    parted_while(fault, both_ways(fault.member.name, [*others, "lease"]))


def cut_off_from_the_lease(fault):
    parted_while(fault, both_ways(fault.member.name, ["lease"]))


def cut_off_from_the_lease_one_way(fault):
    parted_while(fault, one_way(fault, fault.member.name, "lease"))


def kill_the_lease_server(fault):
    fault.world.lease.kill()
    fault.fired = True
    fault.last()
    fault.world.lease.restart()


def stop_the_lease_server(fault):
    stopped_while(fault, fault.world.lease.process)


def move_the_wall_clock(fault):
    clock = fault.member.clock
    before = clock.looks()
    clock.set(fault.step.amount)
    try:
        fault.last()
    finally:
        clock.set(0)
        fault.fired = clock.looks() > before


def command(fault, *words):
    """Whether it succeeds depends on what else goes on: a refusal is an answer."""
    c, node = fault.world.c, fault.member.node
    status, _, _ = c.run([c.litefs, words[0], "--config", node.config, *words[1:]], status=None, timeout=COMMAND_LIMIT)
    fault.fired = status == 0


ACTIONS = {
    "kill the daemon": kill_the_daemon,
    "stop the daemon": stop_the_daemon,
    "kill the app": kill_the_app,
    "stop the app": stop_the_app,
    "restart the daemon": restart_the_daemon,
    "part two nodes": part_two_nodes,
    "part two nodes one way": part_two_nodes_one_way,
    "cut off from the others": cut_off_from_the_others,
    "cut off from all": cut_off_from_all,
    "cut off from the lease": cut_off_from_the_lease,
    "cut off from the lease one way": cut_off_from_the_lease_one_way,
    "kill the lease server": kill_the_lease_server,
    "stop the lease server": stop_the_lease_server,
    "move the wall clock": move_the_wall_clock,
    "handoff": lambda fault: command(fault, "handoff", fault.other.node_id),
    "promote": lambda fault: command(fault, "promote"),
    "demote": lambda fault: command(fault, "demote"),
}
