"""What goes wrong when: a list of steps that follows from the seed alone."""

import dataclasses
import random

# kind: (weight, shortest and longest time that it lasts in seconds; None: it is a moment)
KINDS = {
    "kill the daemon": (5, 0.1, 6),
    "stop the daemon": (4, 0.2, 8),          # SIGSTOP
    "kill the app": (4, 0.0, 1),
    "stop the app": (3, 0.1, 6),
    "restart the daemon": (2, 0.0, 2),       # SIGTERM
    "part two nodes": (3, 0.3, 8),
    "part two nodes one way": (3, 0.3, 8),
    "cut off from the others": (3, 0.3, 8),
    "cut off from all": (6, 0.5, 10),        # also from the lease server: it writes to its deadline, and nobody has it
    "cut off from the lease": (4, 0.3, 8),
    "cut off from the lease one way": (2, 0.3, 8),
    "kill the lease server": (2, 0.1, 5),
    "stop the lease server": (1, 0.3, 5),
    "move the wall clock": (3, 0.5, 10),
    "handoff": (4, None, None),
    "promote": (3, None, None),
    "demote": (3, None, None),
}
SECONDS_BETWEEN = (0.2, 2.5)
PRIMARY = "primary"  # whoever it is then


@dataclasses.dataclass
class Step:
    at: float       # seconds from the beginning
    kind: str
    target: str     # a node, or PRIMARY
    other: str      # another node
    lasts: float
    amount: float   # of a jump of the clock, in seconds
    forth: bool     # the direction of what goes one way

    def __str__(self):
        lasts = f" for {self.lasts:.1f} s" if self.lasts else ""
        return f"{self.at:6.1f} s  {self.kind}: {self.target} (other: {self.other}){lasts}"


def make(seed, seconds, names):
    rng = random.Random(f"schedule {seed}")
    steps = []
    at = 1.0
    while at < seconds:
        kind = rng.choices(list(KINDS), [weight for weight, _, _ in KINDS.values()])[0]
        _, shortest, longest = KINDS[kind]
        # Most often something short: long ones let the cluster settle in another state.
        lasts = shortest + (longest - shortest) * rng.random() ** 2 if longest is not None else 0
        steps.append(Step(at=at, kind=kind, target=PRIMARY if rng.random() < 0.5 else rng.choice(names),
                          other=rng.choice(names), lasts=lasts,
                          amount=rng.choice([-1, 1]) * rng.choice([0.5, 5, 60, 86400]), forth=rng.random() < 0.5))
        at += rng.uniform(*SECONDS_BETWEEN)
    return steps
