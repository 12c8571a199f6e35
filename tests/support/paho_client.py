# SPDX-License-Identifier: BSD-2-Clause
"""A conversation of paho with a broker: paho_client.py PORT LEVEL (3, 4 or 5).

Ends with status 0 when everything came as it should.
"""
import os
import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PORT, LEVEL = int(sys.argv[1]), int(sys.argv[2])
PATIENCE = 10 * float(os.environ.get("SOL_TEST_SLOW", "1"))


class Client:
    """A paho client whose events come through queues, in its own thread."""

    def __init__(self, client_id, keep=False, will=None):
        options = {} if LEVEL == 5 else {"clean_session": not keep}
        self.paho = mqtt.Client(client_id, protocol=LEVEL, **options)
        self.keep, self.messages, self.events = keep, queue.Queue(), queue.Queue()
        self.paho.on_connect = lambda *args: self.events.put(("connect", args[3]))
        self.paho.on_subscribe = lambda *args: self.events.put(("subscribe", args[3]))
        self.paho.on_message = lambda _client, _data, message: self.messages.put(message)
        if will:
            self.paho.will_set(**will)

    def connect(self):
        options = {}
        if LEVEL == 5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 300 if self.keep else 0
            options = {"clean_start": not self.keep, "properties": properties}
        self.paho.connect("127.0.0.1", PORT, **options)
        self.paho.loop_start()
        self.wait_for("connect")
        return self

    def wait_for(self, wanted):
        event, _ = self.events.get(timeout=PATIENCE)
        same(event, wanted, "event")

    def subscribe(self, topic, qos):
        self.paho.subscribe(topic, qos)
        self.wait_for("subscribe")

    def publish(self, topic, payload, qos=0, retain=False, properties=None):
        options = {"properties": properties} if properties else {}
        self.paho.publish(topic, payload, qos, retain, **options).wait_for_publish(PATIENCE)

    def next(self):
        return self.messages.get(timeout=PATIENCE)

    def disconnect(self):
        self.paho.disconnect()
        self.paho.loop_stop()

    def cut(self):
        self.paho.loop_stop()
        self.paho.socket().close()


def same(got, wanted, what):
    if got != wanted:
        raise AssertionError(f"{what}: wanted {wanted!r}, got {got!r}")


def exchange():
    client = Client("paho-exchange").connect()
    client.subscribe("paho/#", 2)
    for qos in (0, 1, 2):
        client.publish("paho/x", f"message {qos}", qos)
        message = client.next()
        same(message.topic, "paho/x", "topic")
        same(message.payload.decode(), f"message {qos}", "payload")
        same(message.qos, qos, "qos")
    client.disconnect()


def retained():
    client = Client("paho-retained").connect()
    client.publish("paho-retained/x", "kept", 1, True)
    client.subscribe("paho-retained/+", 1)
    message = client.next()
    same((message.payload, message.retain), (b"kept", 1), "retained message")
    client.disconnect()


def will():
    watcher = Client("paho-watcher").connect()
    watcher.subscribe("paho-will", 1)
    doomed = Client("paho-doomed", will={"topic": "paho-will", "payload": "gone", "qos": 1}).connect()
    doomed.cut()
    same(watcher.next().payload, b"gone", "will")
    watcher.disconnect()


def session():
    first = Client("paho-session", keep=True).connect()
    first.subscribe("paho-queue", 1)
    first.disconnect()
    other = Client("paho-other").connect()
    for number in range(1, 6):
        other.publish("paho-queue", str(number), 1)
    other.disconnect()
    again = Client("paho-session", keep=True).connect()
    for number in range(1, 6):
        same(again.next().payload, str(number).encode(), "queued message")
    again.disconnect()


def reconnect():
    client = Client("paho-reconnect", keep=True).connect()
    client.subscribe("paho-reconnect", 1)
    client.paho.socket().shutdown(2)
    client.wait_for("connect")  # paho's own thread connects again
    client.publish("paho-reconnect", "back again", 1)
    same(client.next().payload, b"back again", "after reconnect")
    client.disconnect()


def properties():
    if LEVEL != 5:
        return
    client = Client("paho-properties").connect()
    client.subscribe("paho-properties", 1)
    sent = Properties(PacketTypes.PUBLISH)
    sent.ContentType = "application/json"
    sent.UserProperty = [("key", "value")]
    client.publish("paho-properties", "{}", 1, properties=sent)
    got = client.next().properties
    same(got.ContentType, "application/json", "content type")
    same(got.UserProperty, [("key", "value")], "user property")
    client.disconnect()


for step in (exchange, retained, will, session, reconnect, properties):
    step()
    print(step.__name__, "ok", flush=True)
