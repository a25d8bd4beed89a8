#!/usr/bin/env python3
"""The HTTP API of two real nodes: status, positions, health, metrics, events, and who is refused."""

import json
import re
import socket

import cluster
from http_api import Listener, free_port, get_json, request


def check_state(primary, replica, ports):
    status = get_json(ports["primary"], "/status")
    cluster.check_equal(status["node_id"], primary.status()["node_id"], "/status")
    for node, port in ((primary, ports["primary"]), (replica, ports["replica"])):
        position = get_json(port, "/positions")["app.db"]
        cluster.check_equal(f"{position['txid']}/{position['checksum']}", node.position("app.db"), "/positions")
    metrics = request(ports["primary"], "/metrics")[1]
    for line in metrics.splitlines():
        cluster.check(re.fullmatch(r'# (HELP|TYPE) .*|litefs_\w+(\{[^{}]*\})? [-+.e0-9]+', line), f"metrics: {line!r}")
    txid = int(position["txid"], 16)
    cluster.check(f'litefs_database_txid{{db="app.db"}} {txid}' in metrics, f"no position in {metrics}")
    cluster.check("litefs_is_primary 1" in metrics, "is_primary")
    cluster.check(f'litefs_replica_txid{{node="{replica.status()["node_id"]}",db="app.db"}} {txid}' in metrics,
                  f"no replica in {metrics}")
    cluster.check("litefs_connected 1" in request(ports["replica"], "/metrics")[1], "connected")


def check_health(primary, replica, ports):
    cluster.wait_for("the replica is back", lambda: request(ports["replica"], "/health")[0] == 200)
    get_json(ports["primary"], "/health")
    get_json(ports["primary"], "/health?role=primary")
    get_json(ports["replica"], "/health?role=replica")
    get_json(ports["replica"], "/health?lag_transactions=0")
    for port, role in ((ports["primary"], "replica"), (ports["replica"], "primary")):
        said = get_json(port, f"/health?role={role}", status=503)
        cluster.check("this node is a" in said["error"], said)
    primary.kill()
    cluster.wait_for("a replica without its primary is not healthy",
                     lambda: request(ports["replica"], "/health")[0] == 503)
    primary.start()
    cluster.wait_for("it is healthy again", lambda: request(ports["replica"], "/health")[0] == 200)


def check_refusals(port):
    for headers in ({"Host": "evil.example"}, {"Host": f"evil.example:{port}"},
                    {"Origin": "http://evil.example"}):
        cluster.check_equal(request(port, "/status", headers=headers)[0], 403, f"with {headers}")
    cluster.check_equal(request(port, "/status", headers={"Origin": f"http://127.0.0.1:{port}"})[0], 200, "our own")
    status, body = request(port, "/nothing")
    cluster.check_equal(status, 404, body)
    cluster.check("docs/HTTP.md" in json.loads(body)["error"], body)
    # Garbage, and a request that never ends: others are served meanwhile.
    with socket.create_connection(("127.0.0.1", port)) as endless, \
            socket.create_connection(("127.0.0.1", port)) as garbage:
        endless.sendall(b"GET /status HTTP/1.1\r\nHost: ")
        garbage.sendall(b"\x00\xff" * 5000 + b"\r\n\r\n")
        cluster.check_equal(request(port, "/health")[0], 200, "while others send garbage")


def check_events(c, primary, replica, ports):
    listeners = [Listener(ports["primary"]), Listener(ports["replica"])]
    for listener, is_primary in zip(listeners, (True, False)):
        event = listener.next()
        cluster.check_equal((event["type"], event["data"]["isPrimary"]), ("init", is_primary), "the first event")
    primary.sql("app.db", "INSERT INTO t VALUES (2);")
    txid = c.wait_equal(primary, replica, "app.db").split("/")[0]
    for listener in listeners:
        event = listener.next()
        cluster.check_equal((event["type"], event["db"], event["data"]["txID"]), ("tx", "app.db", txid), "the event")
    return listeners


def check_taken(c, primary, port):
    other = c.node("other", start=False, http={"listen": f"127.0.0.1:{port}"})
    status, out, err = c.command("daemon", "--config", other.config, status=None)
    cluster.check(status == 1 and f"cannot listen on 127.0.0.1:{port}" in err, f"{status} {out}{err}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        other = c.node("endpoint", start=False, replication={"listen": endpoint})
        status, out, err = c.command("daemon", "--config", other.config, status=None)
    cluster.check(status == 1 and endpoint in err, f"a replication endpoint in use: {status} {out}{err}")
    other = c.node("open", start=False, http={"listen": "0.0.0.0:7480"})
    status, out, err = c.command("daemon", "--config", other.config, status=None)
    cluster.check(status == 2 and "http.listen" in err and "insecure" in err, f"{status} {out}{err}")


def test(c):
    ports = {"primary": free_port(), "replica": free_port()}
    primary = c.node("primary", http={"listen": f"127.0.0.1:{ports['primary']}"})
    replica = c.node("replica", follows=primary, http={"listen": f"localhost:{ports['replica']}"})
    primary.sql("app.db", "CREATE TABLE t(x); INSERT INTO t VALUES (1);")
    c.wait_equal(primary, replica, "app.db")
    cluster.wait_for("the primary knows what its replica has", lambda: any(
        r["databases"] for r in primary.status()["replication"]["replicas"]))
    check_state(primary, replica, ports)
    check_refusals(ports["primary"])
    check_taken(c, primary, ports["primary"])
    listeners = check_events(c, primary, replica, ports)
    primary.stop()  # with listeners: at once
    cluster.check_equal(listeners[0].next(), None, "the end of the stream")
    primary.start()
    check_health(primary, replica, ports)
    replica.stop()


cluster.main(test)
