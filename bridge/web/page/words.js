// What routes, states and verbs are called, and what each verb does.

//: State to its symbol (a sprite of index.html), its tone, and how soon somebody has to look: small is soon.
export const STATES = {
  faulted: { icon: "fault", tone: "bad", rank: 0 },
  ended: { icon: "fault", tone: "bad", rank: 0 },
  throttled: { icon: "wait", tone: "warn", rank: 1 },
  waiting: { icon: "wait", tone: "warn", rank: 2 },
  leaving: { icon: "wait", tone: "warn", rank: 3 },
  moving: { icon: "move", tone: "good", rank: 4 },
  paused: { icon: "pause", tone: "calm", rank: 5 },
  done: { icon: "done", tone: "good", rank: 6 },
  standby: { icon: "idle", tone: "calm", rank: 7 },
  idle: { icon: "idle", tone: "calm", rank: 8 },
};

export const stateOf = (queue) => STATES[queue.state] ?? { icon: "idle", tone: "calm", rank: 9 };

//: `next` of the status to: path, label, what it does, and what it takes beside queues and a reason.
export const VERBS = {
  cutover: {
    path: "cutover",
    label: "Cut over",
    title: "Cut over to the new side",
    does: "Everything goes to the target: the new workers get every task, the old workers get nothing new.",
    gated: true,
    primary: true,
  },
  canary: {
    path: "canary",
    label: "Canary",
    title: "Move a share",
    does: "A share goes to the target, the old workers have the rest.",
    gated: true,
    share: true,
  },
  dual: {
    path: "dual",
    label: "Dual",
    title: "Move to both sides",
    does: "Everything goes to the legacy side and to the target: every task runs twice. Only for tasks that may.",
    gated: true,
  },
  legacy: {
    path: "legacy",
    label: "Legacy",
    title: "Give back to the old workers",
    does: "The bridge takes nothing more from the old queue, the old workers have it again. What is on the target stays there.",
  },
  "rollback --reverse": {
    path: "rollback",
    label: "Roll back",
    title: "Roll back, with what waits on the target",
    does: "What waits in the target's queue and in its ladder goes back into the old queue, for the old workers.",
    body: { reverse: true },
    grave: true,
  },
  pause: {
    path: "pause",
    label: "Pause",
    title: "Pause",
    does: "Nothing moves until resume.",
  },
  resume: {
    path: "resume",
    label: "Resume",
    title: "Resume",
    does: "The route that was set goes on.",
    primary: true,
  },
  cancel: {
    path: "cancel",
    label: "Cancel the plan",
    title: "Take back what is planned",
    does: "The postponed verb is not carried out.",
  },
  rate: {
    path: "rate",
    label: "Limit",
    title: "Limit the rate",
    does: "At most so many messages a second are moved; the rest waits where it is.",
    rate: true,
  },
};

//: The order of the buttons.
export const ORDER = ["resume", "cutover", "canary", "dual", "pause", "legacy", "rollback --reverse", "cancel", "rate"];

//: Outcomes of an answer: symbol, tone, word.
export const OUTCOMES = {
  done: { icon: "done", tone: "good", word: "done" },
  would: { icon: "done", tone: "calm", word: "would be done" },
  planned: { icon: "wait", tone: "warn", word: "planned" },
  unchanged: { icon: "idle", tone: "calm", word: "unchanged" },
  refused: { icon: "fault", tone: "bad", word: "refused" },
};

export const SEVERITIES = {
  blocker: { icon: "fault", tone: "bad" },
  warning: { icon: "warn", tone: "warn" },
  note: { icon: "note", tone: "calm" },
};

//: Keys of the due-time histogram, soonest first.
export const DUE = [
  ["minute", "next minute"],
  ["hour", "next hour"],
  ["day", "next day"],
  ["week", "next week"],
  ["later", "later"],
];
