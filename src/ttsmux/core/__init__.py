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
  `Pool._assign`; what of that is about connections there are not is in `dialling`. What the
  speeches of one route have in common, whatever their voices, is a `Budget` for retries and a
  `Breaker`: whether there is anything to be tried at all is decided in `Breaker`, and asked where a
  dial begins (`Dialler.dial`) and where a speech is seated (`Pool._serve`).

**How a step goes.** The Mux hands an input to the thing it concerns. That changes states (always
by `states.step`, never by assignment), queues effects on the agenda, and tells the pool whom the
change concerns: `Pool.changed` for a connection that may count for something else now,
`Pool.look_at` for a lane about which there may be something to decide. Then the Mux lets the pool
decide until nothing is stale, and arms the clocks that were touched. A seat that a decision gives,
or a dial, is no reason to decide again (`Pool.looked_at`). Audio, the hot path, touches neither: it
goes from the decoder into the speech's buffer and ends there.

**What a step costs** does not depend on how many speeches wait, nor on how many connections there
are. Speeches wait in a `Line` of their lane; what connections count for stands in sums (`crowd`),
to which each adds its `Share`; a decision goes through the lanes that changed, and, where there may
be room now, through those that lack a connection. A fact about connections that a decision needs
belongs into `Share`, and whatever changes it has to say `changed`: forgetting that is the mistake
to look for when the pool overlooks something. The tests compare the sums with what they are about
after each step of the random walk, and count what an input costs. That a dial has failed concerns
everybody who waits for it, for each has one try less. So the `Line` counts dials, tells those who
have had their last, and the others when they leave.

**Other clients** with the same key are known by what they hold of it, in a `Quota`. It is the one
thing here that several threads touch, each in a step of its own Mux; `quota` says why that is safe.
`Admission` is the pool's side: it is asked where a dial and where a generation begins, and told
where they end. What another client has changed is due at once (`Mux.deadline`), and heard in
`Pool.settle`.

**Clocks** are instants compared on `tick`. They are armed lazily (`effects.Agenda`): a deadline
that moves away needs no attention until the old instant comes. One that comes *nearer* must be
announced with `touch`; forgetting that is the mistake to look for when a deadline fires late. After
`expire`, `deadline()` must lie in the future, or the shell's clock spins.

**What is measured** a speech tells its `metrics.Timeline` as it happens. Nothing is decided by it;
what the figures mean stands in `Metrics`.

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
