"""
Theory of operation. Read this first.

Everything that ttsmux decides, it decides here, and nothing here touches the world: no socket,
clock, thread, lock, logger or randomness of its own. A shell (`ttsmux.client`) calls the inputs of
one object, the `Mux`, each with the time; the Mux answers with effects, and the shell carries them
out. The same inputs give the same effects, bit for bit, so the tests run the whole client against a
simulated network in virtual time.

**Who decides what.** There are four kinds of things with a life:

* A `Speech` is what a caller started. It owns the text that is not sent, the audio that is not
  read, and the one question that the caller cares about: is it complete? What a failure means for a
  speech (again, on the next route, or the end) is decided in `Speech.generation_failed` and
  `Speech.dial_failed`, nowhere else.
* A `LiveGeneration` is what the provider counts. A speech has at most one that may deliver; it may
  need several, one after the other. Between two of them a connection that serves one speech at a
  time is kept for it (`Pool.keep`), so that no other speech comes between two sentences.
* A `Connection` is one wire. It knows whom audio belongs to, and whether it can be trusted. What an
  interruption does is decided in `Connection.interrupt`, and only there.
* The `Pool` decides who gets which seat, when to dial, and what to keep spare, all in
  `Pool._assign`.

**How a step goes.** The Mux hands an input to the thing it concerns. That changes states (always by
`states.step`, never by assignment), queues effects on the agenda, and sets `pool.stale` if it
changed anything that `_assign` looks at. Then the Mux lets the pool decide until nothing is stale,
and arms the clocks that were touched. Audio, the hot path, touches neither: it goes from the
decoder into the speech's buffer and ends there.

**Clocks** are instants compared on `tick`. They are armed lazily (`effects.Agenda`): a deadline
that moves away needs no attention until the old instant comes. One that comes *nearer* must be
announced with `touch`; forgetting that is the mistake to look for when a deadline fires late. After
`expire`, `deadline()` must lie in the future, or the shell's clock spins.

**What is coupled to what.** Connections and speeches meet in two places: the pool seats a speech
(`Connection.begin`, then `Speech.seat`), and a generation ends (`Connection._output_end`,
`Connection._drop`, `Connection.interrupt`). In each, the wire's side changes first: by the time the
speech is told, the slot is free again, so that its next generation may take it.

**Trust.** A connection is reused only if the provider proved it clean, by an end or an
acknowledgement. Every other exit dooms it. Doom never ends a speech that nobody interrupted: with
live neighbours a doomed connection drains, without it hangs up.

If you add a state or an input: the tables in `states.py` first, then the method, then the random
walk in `tests/core`, which fails until it has seen the new cell taken.
"""
