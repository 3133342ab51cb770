"""Asks both sides what there is, shows the plan for the target, and carries it out step by step.

A dry run carries the same steps out on a `Recorder`. What stands between us and a step is told as it is: a conflict,
a right that is missing, the broker's own refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bridge import sides
from bridge.config import Config
from bridge.config_sections import Broker
from bridge.core.pairs import Pair, pairs
from bridge.core.permissions import Grants, grants
from bridge.core.plan import Plan, Step, plan
from bridge.core.rights import allows
from bridge.core.topology import Permissions, Vhost
from bridge.errors import BridgeError, ConfigError, Exit, Fault, Refused, Unreachable, redact
from bridge.management import Changes, Management

#: A person with rights imports what we may not make.
IMPORT = (
    "let someone who may do this import it: bridge plan --definitions > definitions.json, then POST it to "
    "/api/definitions or `rabbitmqctl import_definitions definitions.json`; then run this again"
)
#: Tags that may what a tag may.
_MAY = {
    "management": {"management", "policymaker", "monitoring", "administrator"},
    "policymaker": {"policymaker", "administrator"},
    "administrator": {"administrator"},
}


@dataclass(frozen=True)
class Survey:
    """Both sides at one moment, the queues in scope and their sisters."""

    source: Vhost
    target: Vhost
    pairs: tuple[Pair, ...]

    def plan(self, instance: str) -> Plan:
        """What is still to be made on the target."""
        return plan(self.source, self.target, self.pairs, instance)


@dataclass
class Outcome:
    """What an apply came to: steps done, left out for want of a right they can do without, and not done."""

    plan: Plan
    done: list[Step] = field(default_factory=list)
    skipped: list[Step] = field(default_factory=list)
    left: list[Step] = field(default_factory=list)
    #: Why the first step of `left` was not done.
    fault: BridgeError | None = None

    @property
    def exit_code(self) -> Exit:
        """How the command ends."""
        return Exit.DONE if self.fault is None else self.fault.exit_code

    def as_json(self) -> dict[str, Any]:
        """As `bridge apply --json` prints it."""
        return {
            "target": self.plan.vhost,
            "done": [step.as_json() for step in self.done],
            "skipped": [step.as_json() for step in self.skipped],
            "left": [step.as_json() for step in self.left],
            "fault": None if self.fault is None else redact(str(self.fault)),
            "hint": None if self.fault is None else redact(self.fault.hint),
            "conflicts": self.plan.as_json()["conflicts"],
            "remarks": list(self.plan.remarks),
        }


def target_api(config: Config) -> Management:
    """The HTTP API that changes the target.

    Raises:
        ConfigError: it is not configured.
    """
    return _api("target", config.target)


def source_api(config: Config) -> Management:
    """The HTTP API of the source; errors as those of `target_api`."""
    return _api("source", config.source)


def _api(name: str, broker: Broker) -> Management:
    api = sides.management(name, broker)
    if api is None:
        allowed = "the URL of the management API: what is on the broker, and what to make, goes over it"
        raise ConfigError("configuration", [Fault(f"{name}.api", "missing", allowed)])
    return api


def survey(config: Config) -> Survey:
    """Look at both sides.

    Raises:
        BridgeError: one of them cannot be asked.
    """
    apis = [source_api(config), target_api(config)]
    source, target = (
        api.snapshot(broker.amqp[0].vhost, broker.amqp[0].user)
        for api, broker in zip(apis, (config.source, config.target), strict=True)
    )
    found = pairs(source, config.wants, set(config.explicit_names()), lambda name: config.setting_for(name).target)
    return Survey(source, target, tuple(found))


def wanted_rights(config: Config, *, reverse: bool = False) -> Grants:
    """The least rights of the bridge on both sides, for the queues that are in scope now; with `reverse`, also for the
    way back.

    Raises:
        BridgeError: the source cannot be asked, or the target not for its version.
    """
    seen = survey(config)
    # Rights are for the whole way, whatever part of it is done.
    empty = Vhost(seen.target.name, seen.target.version)
    whole = plan(seen.source, empty, seen.pairs, config.instance)
    return grants(
        seen.pairs,
        seen.source.queues,
        config.queues.include,
        whole,
        config.instance,
        config.backup_side,
        config.probe_queue,
        inline=config.legacy is not None,
        reverse=reverse,
    )


def carry_out(
    plan: Plan, changes: Changes, permissions: Permissions | None, tell: Callable[[Step, int], None] = lambda *_: None
) -> Outcome:
    """Make every step in its order, until one fails.

    Args:
        plan: what to do.
        changes: the target, or a recorder.
        permissions: of our user; None where they are not known, then the broker's refusal tells.
        tell: called before each step with its number from 1 on.
    """
    outcome = Outcome(plan)
    if plan.conflicts:
        outcome.left = list(plan.steps)
        outcome.fault = Refused(
            "\n".join(["nothing was changed, since these are in the way on the target:", *map(str, plan.conflicts)]),
            hint="; ".join(dict.fromkeys(f"{c.kind} {c.name}: {c.todo}" for c in plan.conflicts)),
        )
        return outcome
    lacking = [] if permissions is None else [step for step in plan.steps if list(missing(step, permissions))]
    needed = [step for step in lacking if not step.optional]
    if needed and permissions is not None:
        outcome.left = list(plan.steps)
        told = [f"{step.sentence}; needs {', '.join(missing(step, permissions))}" for step in needed]
        words = f'nothing was changed: user "{permissions.user}" may not do {len(needed)} of {len(plan.steps)} steps:'
        outcome.fault = Refused("\n".join([words, *told]), hint=IMPORT)
        return outcome
    for number, step in enumerate(plan.steps, 1):
        tell(step, number)
        try:
            if step in lacking:
                outcome.skipped.append(step)
            else:
                _make(step, changes)
                outcome.done.append(step)
        except (Refused, Unreachable) as fault:
            allowed = getattr(fault, "status", None) not in (401, 403)
            if step.optional and not allowed:
                outcome.skipped.append(step)
                continue
            outcome.fault = fault if allowed else Refused(str(fault), hint=IMPORT)
            outcome.left = list(plan.steps[number - 1 :])
            break
    return outcome


def _make(step: Step, changes: Changes) -> None:
    if step.method == "PUT":
        changes.put(step.path, step.body)
    else:
        changes.post(step.path, step.body)


def missing(step: Step, permissions: Permissions) -> Iterator[str]:
    """What our user lacks for a step; what cannot be told is left to the broker."""
    if not _MAY[step.tag] & set(permissions.tags):
        yield f'the tag "{step.tag}"'
    expressions = {"configure": permissions.configure, "write": permissions.write, "read": permissions.read}
    for need in step.needs:
        if allows(expressions[need.right], need.name) is False:
            yield f'{need.right} on {need.kind} "{need.name}"'
