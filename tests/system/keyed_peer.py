"""A peer with a key of its own: a DEALER of libzmq's, which sends frames as it is told."""

import ctypes

DEALER = 5
LINGER, SNDTIMEO = 17, 28
CURVE_PUBLICKEY, CURVE_SECRETKEY, CURVE_SERVERKEY = 48, 49, 50


class KeyedPeer:
    def __init__(self, port, key_file, server_key):
        self.zmq = ctypes.CDLL("libzmq.so.5")
        for function in ("zmq_ctx_new", "zmq_socket"):
            getattr(self.zmq, function).restype = ctypes.c_void_p
        self.context = ctypes.c_void_p(self.zmq.zmq_ctx_new())
        self.socket = ctypes.c_void_p(self.zmq.zmq_socket(self.context, DEALER))
        with open(key_file, encoding="ascii") as file:
            lines = dict(line.strip().split(": ", 1) for line in file if ": " in line and not line.startswith("#"))
        for option, key in ((CURVE_PUBLICKEY, lines["public-key"]), (CURVE_SECRETKEY, lines["secret-key"]),
                            (CURVE_SERVERKEY, server_key)):
            self.set(option, key.strip("'\"").encode() + b"\0")
        for option, value in ((LINGER, 0), (SNDTIMEO, 20000)):
            self.set(option, value.to_bytes(4, "little"))
        self.check(self.zmq.zmq_connect(self.socket, f"tcp://127.0.0.1:{port}".encode()))

    def check(self, result):
        if result < 0:
            raise OSError(self.zmq.zmq_errno(), "libzmq")
        return result

    def set(self, option, value):
        self.check(self.zmq.zmq_setsockopt(self.socket, option, value, ctypes.c_size_t(len(value))))

    def send(self, frame):
        self.check(self.zmq.zmq_send(self.socket, frame, ctypes.c_size_t(len(frame)), 0))

    def close(self):
        self.zmq.zmq_close(self.socket)
        self.zmq.zmq_ctx_term(self.context)
