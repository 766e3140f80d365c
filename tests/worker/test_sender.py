"""The sender against a stand-in LINE in a process of its own, on both engines."""

from __future__ import annotations

from tests.worker.conftest import Post


def test_sends_each_queued_push_once(post: Post):
    users = post.crowd(200)
    post.queue(users)
    post.sender()
    post.wait(sent=200)
    assert post.line.received() == dict.fromkeys(users, 1)
