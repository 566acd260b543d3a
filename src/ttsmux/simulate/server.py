"""
The listener: accepts, answers HTTP requests, one after the other on a connection, and hands a
socket that became a WebSocket to its session.

One port serves everything a provider offers; a request is routed by its path. Loopback only.
"""

from __future__ import annotations

import asyncio
import socket
import ssl

from .exchange import Exchange
from .faults import Fault, Moment
from .provider import Provider, Stage, read_json
from .wire import Request, Response, Wire, reset

# Descriptors may run out for a moment under load; then accepting pauses instead of ending.
ACCEPT_PAUSE = 0.05


class Server:
    """One provider on one port of 127.0.0.1."""

    def __init__(
        self,
        provider: Provider,
        stage: Stage,
        *,
        port: int = 0,
        handshake: float = 0.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._provider = provider
        self._stage = stage
        self._handshake = handshake
        self._ssl_context = ssl_context
        self._tasks: dict[asyncio.Task[None], Wire] = {}
        self._listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]

    @property
    def connections(self) -> int:
        """How many TCP connections are open."""
        return len(self._tasks)

    async def serve(self) -> None:
        """Accept connections until cancelled; then leave nothing open."""
        try:
            while True:
                await self._accept()
        finally:
            self._listener.close()
            for task, wire in self._tasks.items():
                wire.abort()
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def close(self) -> None:
        """Release the port of a server that never served."""
        self._listener.close()

    def inject(self, fault: Fault) -> None:
        """
        Add *fault*.

        If it names an open connection or generation and no chunk, it happens now: its beginning,
        which is when it would have happened, is past.
        """
        self._stage.faults.add(fault)
        for session in (*self._stage.sessions, *self._stage.exchanges):
            if fault.connect not in (None, session.conn):
                continue
            if fault.moment is Moment.OPEN:
                session.act(fault, None)
            elif fault.moment is Moment.START and fault.request in session.open:
                session.act(fault, session.open[fault.request])

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            sock, _ = await loop.sock_accept(self._listener)
        except OSError:
            await asyncio.sleep(ACCEPT_PAUSE)
            return
        stage = self._stage
        stage.dials += 1
        conn = stage.dials
        stage.log.add("dial", conn=conn)
        if faults := stage.faults.at(Moment.ACCEPT, conn):
            stage.log.add("fault", conn=conn, fault=str(faults[0]))
            stage.log.add("refused", conn=conn, status=None, path=None, message="")
            reset(sock)
            sock.close()
            stage.log.add("lost", conn=conn, error=None)
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = Wire(sock)
        task = loop.create_task(self._serve(wire, conn))
        self._tasks[task] = wire

    async def _serve(self, wire: Wire, conn: int) -> None:
        error: Exception | None = None
        try:
            await wire.start(self._ssl_context)
            while await self._one(wire, conn) and wire.again():
                pass
            await wire.ended()
        except OSError as exc:
            error = exc
        except Exception as exc:
            error = exc
            raise
        finally:
            wire.abort()
            task = asyncio.current_task()
            assert task is not None
            del self._tasks[task]
            self._stage.log.add("lost", conn=conn, error=None if error is None else repr(error))

    async def _one(self, wire: Wire, conn: int) -> bool:
        """Serve one request, or a WebSocket to its end; false if nothing can follow."""
        request = await wire.request()
        match request:
            case None:
                return False
            case Response():
                self._refuse(wire, conn, request, None, close=True)
                return False
        self._stage.log.hide(self._provider.secret(request))
        if not await wire.pause(self._handshake):
            return False
        if request.upgrade:
            if (refusal := await self._upgrade(wire, conn, request)) is not None:
                self._refuse(wire, conn, refusal, request.path, close=True)
            return False
        await self._answer(wire, conn, request)
        return True

    def _refuse(
        self, wire: Wire, conn: int, response: Response, path: str | None, *, close: bool = False
    ) -> None:
        self._stage.log.add(
            "refused",
            conn=conn,
            status=response.status,
            path=path,
            message=response.body.decode("utf-8", "replace"),
        )
        wire.respond(response, close=close)

    def _scripted(self, conn: int, number: int | None) -> Response | None:
        """Return the answer that a fault puts in the place of the true one."""
        for fault in self._stage.faults.at(Moment.UPGRADE, conn, number):
            self._stage.log.add("fault", conn=conn, fault=str(fault))
            response = self._provider.refusal(fault.code, "Simulated refusal")
            return Response(response.status, response.body, response.content_type, fault.headers)
        return None

    async def _answer(self, wire: Wire, conn: int, request: Request) -> None:
        """Answer a request that asks for no WebSocket."""
        provider, stage = self._provider, self._stage
        stage.log.add(
            "request",
            conn=conn,
            method=request.method,
            path=request.path,
            query=dict(request.query),
            content_type=request.headers.get("content-type"),
        )
        if request.body:
            body = read_json(request)
            stage.log.add(
                "recv",
                conn=conn,
                frame=body if body is not None else {"unparsed": str(request.body[:200])},
            )
        if (scripted := self._scripted(conn, stage.generations + 1)) is not None:
            # It takes the place of a generation, or request:N would refuse for ever; and it hangs
            # up, or connect:N would.
            stage.generations += 1
            self._refuse(wire, conn, scripted, request.path, close=True)
            return
        answer = provider.request(stage, wire, conn, request)
        if answer is None and provider.serves(request.path):
            answer = provider.refusal(426, "This is a WebSocket endpoint")
        elif answer is None:
            answer = provider.refusal(404, f"There is nothing at {request.path}")
        if isinstance(answer, Response) and answer.status < 300:
            kind = answer.content_type
            stage.log.add("answer", conn=conn, status=answer.status, content_type=kind)
            wire.respond(answer)
            return
        if not isinstance(answer, Exchange):
            self._refuse(wire, conn, answer, request.path)
            return
        stage.exchanges.add(answer)
        try:
            await answer.run()
        finally:
            stage.exchanges.discard(answer)

    async def _upgrade(self, wire: Wire, conn: int, request: Request) -> Response | None:
        """Serve a WebSocket to its end, or return what to answer instead."""
        provider, stage = self._provider, self._stage
        if not provider.serves(request.path):
            return provider.refusal(404, f"There is nothing at {request.path}")
        if (scripted := self._scripted(conn, None)) is not None:
            return scripted
        if (refusal := provider.admit(stage, request)) is not None:
            return refusal
        status = wire.upgrade()
        if status != 101:
            stage.log.add("refused", conn=conn, status=status, path=request.path, message="")
            wire.flush()
            return None
        stage.log.add("open", conn=conn, path=request.path, query=dict(request.query))
        wire.flush()
        session = provider.session(stage, wire, conn, request)
        stage.sessions.add(session)
        try:
            await session.run()
        finally:
            stage.sessions.discard(session)
        return None
