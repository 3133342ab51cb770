"""Every finding there is, in one table: `check` yields nothing else, and docs/plan/findings.md is written from it."""

from __future__ import annotations

from bridge.core.check.finding import Kind, Severity

_B, _W, _N = Severity.BLOCKER, Severity.WARNING, Severity.NOTE

_SIDES = (
    Kind(
        *("same-vhost", _B, "Source and target are one vhost"),
        "What the bridge publishes would come back to it, and a queue cannot be classic and quorum at once.",
        "Make a vhost of its own for the quorum queues and name it in `target.amqp`.",
    ),
    Kind(
        *("target-too-old", _B, "The target's RabbitMQ is too old"),
        "Before 3.10 quorum queues have neither TTL nor at-least-once dead-lettering: the ladder loses tasks.",
        "Upgrade the target to 3.10 or later.",
    ),
    Kind(
        *("version-untested", _W, "A RabbitMQ version that the bridge was not tested with"),
        "Versions 3.10 to 4.3 are tested; what others do differently is not known here.",
        "Rehearse the migration with that version first.",
    ),
    Kind(
        *("feature-flag", _B, "A feature flag is off"),
        "Quorum queues need `quorum_queue`, the backup needs `stream_queue`.",
        "`rabbitmqctl enable_feature_flag NAME` on that side, once all its nodes run the same version.",
    ),
    Kind(
        *("target-alarm", _B, "The target has an alarm"),
        "It takes no publishes while memory or disk is short; everything stays with the old workers.",
        "Give the node memory or disk, or drain it, until the alarm clears.",
    ),
    Kind(
        *("source-alarm", _W, "The source has an alarm"),
        "Its producers are blocked. The bridge goes on reading, which helps.",
        "Clear the alarm before the migration, so that what you measure is the migration.",
    ),
    Kind(
        *("partition", _B, "The cluster is partitioned"),
        "Queues on the two halves differ, and moving from or to either half can lose or double messages.",
        "Heal the partition (restart the nodes that are to lose) before anything is moved.",
    ),
    Kind(
        *("node-down", _W, "A node is not running"),
        "Quorum queues with a replica there are one failure nearer to having no majority.",
        "Start the node, or remove it from the cluster and grow the queues elsewhere.",
    ),
    Kind(
        *("few-nodes", _N, "Fewer than three nodes on the target"),
        "A quorum queue needs a majority: with one or two nodes no node may fail.",
        "Use three nodes if the queues shall survive one of them.",
    ),
    Kind(
        *("disk-room", _B, "Too little disk for the backlog"),
        "Each replica holds every message; when the disk limit is reached, the target blocks all its publishers. "
        "Counted are bodies, 1 KiB for the rest of each message, and 512 MiB of write-ahead log.",
        "Add disk, or let old workers bring the backlog down first.",
    ),
    Kind(
        *("memory-room", _W, "Little memory for the backlog"),
        "A quorum queue keeps at least 32 bytes of index in memory for each message (RabbitMQ's guide on quorum "
        "queues, Resource Use), 48 with a TTL, on every node with a replica; and up to three write-ahead logs of 512 "
        "MiB a node.",
        "Add memory, or let old workers bring the backlog down first.",
    ),
    Kind(
        *("vhost-limit", _B, "A limit of the vhost would be passed"),
        "The broker refuses the queue or connection that is one too many.",
        "`rabbitmqctl set_vhost_limits -p VHOST` with room for the sister queues, 28 levels, the bridge's own queues "
        "and connections.",
    ),
    Kind(
        *("default-queue-type", _N, "The target's default queue type is not quorum"),
        "A queue that someone declares there without `x-queue-type` becomes a classic one.",
        "`bridge apply` sets it (4.0 and later). It does not replace Celery's `task_default_queue_type`: Celery looks "
        "at its own configuration only.",
    ),
    Kind(
        *("transient-denied", _W, "Queues of workers that a 4.3 target refuses"),
        "RabbitMQ 4.3 denies queues that are neither durable nor exclusive. Workers before Celery 5.7 declare such "
        "queues for remote control and events, and `rpc://` before 5.7 for results: they fail to start, or get no "
        "result.",
        "`control_queue_exclusive = True` for `*.pidbox` and `event_queue_exclusive = True` for `celeryev.*` (Celery "
        "5.6 has both, 5.7 sets them); `rpc://` results need Celery 5.7 or another result backend.",
    ),
    Kind(
        *("permission", _B, "A right is missing"),
        "What was tried will be refused when the bridge needs it.",
        "Grant it; `bridge permissions` prints the least that is needed on each side.",
    ),
    Kind(
        *("permission-configure", _W, "Something exists that the bridge may not make again"),
        "It is there and can be used; if it is deleted, the bridge cannot bring it back.",
        "Grant `configure` on it, or know who can make it.",
    ),
    Kind(
        *("permission-entry", _W, "ETA tasks enter the ladder by the slow way"),
        "The bridge may not use exchanges of its own before the ladder. Celery's lead to the same queues, "
        "at a part of the speed.",
        r"Grant configure, write and read on `bridge\.delayed\..*`, or leave it: nothing else depends on them.",
    ),
    Kind(
        *("permission-probe", _W, "The bridge cannot send its probe"),
        "Everything moves without it; how long a message takes from end to end is not measured.",
        "Grant configure, write and read on the probe's queue on both sides, and on the exchange of its name on the "
        "source; or leave `probe:` out.",
    ),
    Kind(
        *("not-looked-at", _N, "Something could not be looked at"),
        "Nothing is said about it: neither that it is well nor that it is not.",
        "Give the API's user the tag `monitoring` and rights on the vhost, then check again.",
    ),
)

_SOURCE = (
    Kind(
        *("queue-vanished", _W, "A queue in scope does not exist"),
        "Nothing can be moved from it.",
        "Correct the name in `queues.include`; a queue that appears later is picked up.",
    ),
    Kind(
        *("left-alone", _W, "A queue named in queues.include is not moved"),
        "It holds no tasks by the rules of scope, for the reason that is given.",
        "Take it out of `queues.include`, or change what the reason names.",
    ),
    Kind(
        *("dq2-queue", _W, "Tasks for one worker by name"),
        "`*.dq2` belongs to one host; its tasks are of use on the target only when a worker of the same node name "
        "runs there.",
        "Name it in full in `queues.include` if such a worker will run there, else let the old worker finish it.",
    ),
    Kind(
        *("queue-down", _B, "A queue is not available"),
        "It has no leader or no majority, or its process failed: messages can be neither read nor written.",
        "Bring its nodes back.",
    ),
    Kind(
        *("exclusive-consumer", _B, "Someone consumes a source queue exclusively"),
        "The broker lets no second consumer in (403), so the bridge gets nothing.",
        "Stop that consumer, or let it consume without `exclusive`.",
    ),
    Kind(
        *("consumer-priority", _W, "A worker with our consumer priority or a higher one"),
        "The bridge takes over by its higher priority; this consumer goes on getting messages.",
        "Set `relay.priority` above it, or stop that consumer at the cutover.",
    ),
    Kind(
        *("single-active-source", _W, "A source queue with single active consumer"),
        "Its active consumer stays active, whatever our priority: the bridge gets nothing before that worker leaves.",
        "Stop the queue's old worker right after the cutover; the next active consumer is the bridge.",
    ),
    Kind(
        *("priority-changes", _W, "Priorities will be served otherwise"),
        "`x-max-priority` does not exist on quorum queues. Before 4.0 they ignore priorities, 4.0 to 4.2 know two "
        "classes (over 4 is high, served 2 to 1), 4.3 has 32 strict levels.",
        "Check what the application relies on; where order matters, use a queue per priority.",
    ),
    Kind(
        *("priority-wakes", _N, "Priorities begin to count"),
        "A classic queue without `x-max-priority` ignores the priority of its messages. From 4.0 on quorum queues "
        "honour it.",
        "Nothing, unless producers set priorities that were meant to do nothing.",
    ),
    Kind(
        *("message-ttl", _N, "Messages expire, and their time begins anew"),
        "A moved message gets the queue's whole TTL again: it can live up to twice as long.",
        "Nothing, unless an age must not be passed.",
    ),
    Kind(
        *("length-limit", _W, "A length limit comes along"),
        "With drop-head a backlog that is moved faster than it is worked off pushes out its own oldest tasks; with "
        "reject-publish the bridge leaves messages in the old queue until there is room.",
        "Raise the limit on the target for the time of the migration, or use reject-publish there.",
    ),
    Kind(
        *("overflow-changes", _W, "reject-publish-dlx has no equal"),
        "A quorum queue refuses what does not fit, and does not dead-letter it.",
        "Watch for refused publishes in the producers (confirms), if what did not fit was wanted.",
    ),
    Kind(
        *("dead-letter", _N, "Dead-lettering comes along"),
        "The target dead-letters through an exchange of its own vhost.",
        "See that something consumes what is dead-lettered there.",
    ),
    Kind(
        *("dead-letter-exchange", _W, "The dead-letter exchange does not exist on the target"),
        "What is dead-lettered there is dropped.",
        "Declare the exchange and its queue on the target.",
    ),
    Kind(
        *("single-active", _W, "Single active consumer must be declared"),
        "It is an argument, never a policy: sister and workers must declare it alike.",
        "`bridge apply` declares the sister with it; give the workers `x-single-active-consumer` in `queue_arguments`.",
    ),
    Kind(
        *("classic-only", _N, "Settings that end with the classic queue"),
        "Storage, mirroring and placement are other things on a quorum queue; nothing about the messages changes.",
        "Nothing.",
    ),
    Kind(
        *("setting-lost", _W, "A setting that the target will not have"),
        "A quorum queue has no equal for it, or the bridge does not know what it does.",
        "See whether the application relies on it.",
    ),
    Kind(
        *("setting-kept", _N, "A setting that comes along"),
        "The sister gets the same value.",
        "Nothing: `bridge apply` gives it to the sister.",
    ),
    Kind(
        *("result-queues", _W, "Results go through queues of the old vhost"),
        "The worker that runs a task sends its result into its own vhost: callers that wait in the old one get none "
        "of the tasks that were moved, and the broker drops those results.",
        "Use a result backend that is not the broker (Redis, a database), or move the callers together with the "
        "workers.",
    ),
    Kind(
        *("delayed-exchange", _W, "An exchange of the delayed-message plugin"),
        "What waits in it is in no queue and cannot be moved by anyone; it comes out on the source when it is due.",
        "Keep the source and the bridge until the longest delay has passed, and stop publishing into it.",
    ),
    Kind(
        *("source-ladder", _N, "ETA tasks wait in a ladder on the source"),
        "The levels are never touched. Each task comes out into its old queue when it is due, and is moved then.",
        "Keep the source and the bridge until the levels are empty.",
    ),
    Kind(
        *("legacy-queue-missing", _B, "The legacy side does not have a queue"),
        "In the inline layout nothing is taken for a queue that the old workers' side does not have; it is faulted.",
        "Start the old workers on the legacy vhost once, or leave the queue out with `queues.exclude`.",
    ),
)

_TARGET = (
    Kind(
        *("target-missing", _B, "A sister queue does not exist"),
        "The gate refuses to move the queue.",
        "`bridge apply`, or start the new workers once.",
    ),
    Kind(
        *("target-not-quorum", _B, "A sister queue is not a quorum queue"),
        "The gate refuses to move the queue; a worker that declares it as quorum gets a 406.",
        "When it is empty: delete it and let `bridge apply` declare it.",
    ),
    Kind(
        *("target-arguments", _W, "A sister queue has arguments of its own"),
        "A worker that declares it otherwise gets a 406 and does not start. Limits and TTL belong into policies.",
        "Declare the same arguments in the application, or delete the queue when it is empty and let `bridge apply` "
        "declare it.",
    ),
    Kind(
        *("target-filled", _W, "A sister queue holds messages already"),
        "They are worked off among those that are moved; if they are copies, tasks run twice.",
        "See where they come from; purge them if they are left from a rehearsal.",
    ),
    Kind(
        *("target-shared", _W, "Several queues have one sister"),
        "Their tasks mix, and a rollback cannot tell them apart.",
        "Give each its own name in `queues.settings[].target`, unless it is meant so.",
    ),
    Kind(
        *("target-name", _B, "A queue name that cannot be"),
        "A name has at most 255 bytes (AMQP 0-9-1, 4.2.5.3), and `amq.` is the broker's own.",
        "Name the sister otherwise in `queues.settings[].target`.",
    ),
    Kind(
        *("no-workers", _N, "No worker on the sister queue yet"),
        "The gate waits for them.",
        "Start the new workers before the cutover.",
    ),
    Kind(
        *("target-policy", _W, "A policy on the target does more than the old queue did"),
        "Tasks there expire, are pushed out, refused or dead-lettered where they were not before.",
        "Limit the policy's pattern, or give the sister a policy of a higher priority (`bridge apply` does).",
    ),
    Kind(
        *("target-expires", _B, "A policy deletes sister queues that are not used"),
        "`expires` removes a queue without consumers, with every task in it.",
        "Limit the policy's pattern so that it does not match.",
    ),
    Kind(
        *("policy-ignored", _W, "A policy on the target that no quorum queue gets"),
        "One key that quorum queues do not know keeps all its other keys from them too.",
        "Split it: `bridge apply` makes a policy of its own for the sisters.",
    ),
    Kind(
        *("policy-unreadable", _N, "A policy pattern that could not be judged"),
        "The broker's regular expressions have constructs that mean something else here.",
        "See by yourself whether it matches the ladder, the sisters or `bridge.*`.",
    ),
    Kind(
        *("own-queue", _B, "A queue of the bridge cannot be used"),
        "`bridge.quarantine` and `bridge.control.*` must be quorum queues that keep what they hold.",
        "Delete it if it is empty, or free it from the policy that is named.",
    ),
    Kind(
        *("delivery-limit", _N, "The target drops tasks that came back too often"),
        "From 4.0 on the limit is 20. 4.0 to 4.2 count every return, worker restarts among them, 4.3 only lost "
        "connections. What passes it is dead-lettered, or dropped where there is no dead-letter exchange.",
        "Where tasks are requeued on purpose or held by workers across deploys: a policy with a higher "
        "`delivery-limit`, or a dead-letter exchange.",
    ),
    Kind(
        *("consumer-timeout", _W, "Unacked tasks come back sooner than on the source"),
        "A worker that holds a task longer than the consumer timeout loses its channel, and the task runs again. "
        "Tasks with late acknowledgement and tasks with an ETA are held that long.",
        "A policy with a higher `consumer-timeout` (3.12 and later), or `consumer_timeout` in rabbitmq.conf.",
    ),
)

_LADDER = (
    Kind(
        *("ladder-missing", _W, "The target has no ladder"),
        "ETA tasks of the bridge and of Celery need it; a publish into nothing is lost without confirms.",
        "`bridge apply` or `bridge run` declares it, also a worker of Celery 5.5 or later with quorum queues.",
    ),
    Kind(
        *("ladder-incomplete", _B, "The ladder has a gap"),
        "Tasks that pass the gap stop there or are lost.",
        "`bridge apply` declares what is missing.",
    ),
    Kind(
        *("ladder-classic", _W, "The ladder is made of classic queues"),
        "Between two levels a task can be lost when a broker crashes, and is lost where it has no exit.",
        "When its levels are empty: delete them and let `bridge apply` declare quorum ones; set "
        "`broker_native_delayed_delivery_queue_type = 'quorum'`.",
    ),
    Kind(
        *("ladder-arguments", _B, "Something is in the ladder's place"),
        "A level with another TTL, exchange or overflow delivers early, late or never, and Celery's workers get a 406.",
        "When it is empty: delete it and let `bridge apply` declare it.",
    ),
    Kind(
        *("ladder-policy", _B, "A policy changes the ladder"),
        "`message-ttl` makes tasks early, `expires` deletes levels with the tasks in them, a length limit or "
        "`overflow` drops tasks and turns at-least-once into at-most-once.",
        "Limit the policy's pattern so that it does not match `celery_delayed_`.",
    ),
    Kind(
        *("level-stopped", _B, "A level of the ladder has stopped"),
        "32 due messages without an exit stop every ETA task of their level, whoever sent them.",
        "Bind the queue they are for (their keys name it) to `celery_delayed_delivery`; they leave within three "
        "minutes.",
    ),
    Kind(
        *("level-waiting", _W, "Due tasks stay in the ladder"),
        "They have no exit, or their queue refuses them. With 32 of them the level stops for everyone.",
        "Bind the queue they are for (their keys name it) to `celery_delayed_delivery`; they leave within three "
        "minutes.",
    ),
    Kind(
        *("exit-missing", _N, "Our exit from the ladder is not bound yet"),
        "ETA tasks of this queue wait until it is; the bridge publishes none before.",
        "`bridge apply` or `bridge run` binds it.",
    ),
    Kind(
        *("exit-shared", _B, "A binding catches what leaves by our exits"),
        "ETA tasks that the bridge sends to one queue arrive in another one too, and run twice.",
        "Remove the binding from `celery_delayed_delivery`, or narrow its key.",
    ),
    Kind(
        *("final-binding", _W, "Celery's own way out of the ladder is missing"),
        "ETA tasks that new producers send stay in the ladder; 32 of them stop a level. The bridge's own exits are "
        "not concerned.",
        "Start a worker of Celery 5.6 or later that declares this queue; 5.5 stops binding at the first queue that is "
        "missing.",
    ),
    Kind(
        *("suffix-collision", _W, "ETA tasks of one queue reach another one too"),
        "Celery binds `#.KEY`: `#.q1` catches `a.q1` as well. ETA tasks that new producers send run twice. The "
        "bridge's own exits are not concerned.",
        "Give one of the queues a routing key that does not end with the other's.",
    ),
    Kind(
        *("equal-keys", _W, "One routing key on several exchanges"),
        "The ladder forgets which exchange a task was sent to: ETA tasks reach the queues of all of them.",
        "Give the queues routing keys that differ.",
    ),
    Kind(
        *("direct-exchange", _W, "A queue on a direct exchange"),
        "Celery sends no ETA task of such a queue through the ladder: a worker holds each in a prefetch slot until it "
        "is due.",
        "`task_default_exchange_type = 'topic'`, and topic exchanges in `task_queues`.",
    ),
    Kind(
        *("fanout-exchange", _W, "A queue on a fanout exchange"),
        "Celery sends ETA tasks through the ladder and every queue of the exchange gets a copy; a Broadcast queue "
        "that is gone when they are due leaves them in the ladder.",
        "Send no ETA tasks to it, or use Celery 5.7 (it binds no Broadcast queues).",
    ),
    Kind(
        *("long-key", _W, "A routing key that leaves no room for the delay"),
        "56 of a key's 255 bytes are the delay: Celery cannot send an ETA task with a key over 199 bytes. The bridge "
        "shortens its own.",
        "Use a shorter queue name or routing key.",
    ),
)

_MESSAGES = (
    Kind(
        *("message-expiration", _W, "Messages with a TTL of their own"),
        "Where a message has Celery's `expires` header, the bridge gives it the time that is left; where it has none, "
        "the time left is unknown and begins anew. In the ladder a TTL is left out: a worker revokes what has expired.",
        "Nothing for Celery's `expires`; for a bare `expiration` see whether twice the time does harm.",
    ),
    Kind(
        *("eta-priority-capped", _N, "ETA tasks with priority over 4"),
        "On 4.0 to 4.2 one such task in a level holds back every due one behind it, up to 12 days. The bridge lowers "
        "its priority to 4 in the ladder, and counts it.",
        "Nothing for the bridge; tell producers to send ETA tasks with priority 4 or less, or use RabbitMQ 4.3.",
    ),
    Kind(
        *("eta-priority", _W, "ETA tasks with priority over 4, and the cap is off"),
        "On 4.0 to 4.2 one such task in a level holds back every due one behind it, up to 12 days.",
        "`eta.cap_priority: auto`, or RabbitMQ 4.3.",
    ),
    Kind(
        *("message-too-large", _W, "Messages larger than the target takes"),
        "The target would close the channel: the bridge exports such a message to a file instead of moving it.",
        "Raise `max_message_size` on the target.",
    ),
    Kind(
        *("message-size", _N, "The target takes smaller messages than the source"),
        "From 4.0 on `max_message_size` is 16 MiB, before it was 128 MiB.",
        "Raise it on the target if tasks can be that large.",
    ),
    Kind(
        *("headers-too-large", _W, "Headers that fill a frame"),
        "Properties must fit into one frame (131072 bytes by default); a message that comes near it may be refused.",
        "Raise `frame_max` on the target.",
    ),
)

TABLE: tuple[Kind, ...] = (*_SIDES, *_SOURCE, *_TARGET, *_LADDER, *_MESSAGES)
KINDS = {kind.id: kind for kind in TABLE}

_HEAD = """\
# Findings

What `bridge check` can say, written from the table in `bridge/core/check/table.py`; do not edit.

A **blocker** makes the migration fail or lose something, and `bridge check` exit 1. A **warning** is something that
changes or can go wrong. A **note** is good to know. `bridge check --json` prints
`{"findings": [...], "blockers": 0, "warnings": 0, "notes": 0}`, each finding as
`{"id", "severity", "subject", "seen", "todo"}`; ids and keys stay. Notes that say the same of several queues are one.

"""
_GROUPS = (
    ("Brokers and vhosts", _SIDES),
    ("The old queues", _SOURCE),
    ("The new queues", _TARGET),
    ("ETA and the ladder", _LADDER),
    ("Messages", _MESSAGES),
)


def page() -> str:
    """The table as a page of the documentation, in Markdown; the ids are its anchors."""
    parts = [_HEAD]
    for title, kinds in _GROUPS:
        parts.append(f"## {title}\n\n")
        for kind in kinds:
            parts.append(f'### <a id="{kind.id}"></a>`{kind.id}`: {kind.title}\n\n')
            parts.append(f"*{kind.severity.value}* · {kind.meaning}\n\n**Cure:** {kind.cure}\n\n")
    return "".join(parts).rstrip("\n") + "\n"
