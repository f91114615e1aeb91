"""The two codecs; on demand they add fields that no client knows, like a newer server."""

import json

from connectrpc.codec import proto_binary_codec, proto_json_codec

from . import calls

# Field 8191, two kinds: a number, and bytes.
UNKNOWN = b"\xf8\xff\x03\x2a" + b"\xfa\xff\x03\x03new"


def _is_odd():
    call = calls.CURRENT.get(None)
    return call is not None and call.settings["unknown_fields"]


def _with_news(value):
    if isinstance(value, list):
        return [_with_news(one) for one in value]
    if isinstance(value, dict):
        # The members of env are data.
        told = {key: one if key == "env" else _with_news(one) for key, one in value.items()}
        return told | {"somethingNew": {"since": "2031", "values": [1, None, "x"]}}
    return value


class Binary:
    def name(self):
        return "proto"

    def encode(self, message):
        return proto_binary_codec().encode(message) + (UNKNOWN if _is_odd() else b"")

    def decode(self, data, message_class):
        return proto_binary_codec().decode(data, message_class)


class JSON:
    def name(self):
        return "json"

    def encode(self, message):
        data = proto_json_codec().encode(message)
        return json.dumps(_with_news(json.loads(data))).encode() if _is_odd() else data

    def decode(self, data, message_class):
        return proto_json_codec().decode(data, message_class)


def odd(message):
    """The message itself with unknown fields, for one that is within another."""
    return type(message).from_binary(message.to_binary() + UNKNOWN) if _is_odd() else message
