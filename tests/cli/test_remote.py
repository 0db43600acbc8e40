# SPDX-License-Identifier: Apache-2.0
"""What is in a registry: lists of tags, and deletions.  Nothing boots."""

import json
import os
import subprocess
import unittest
from unittest import mock

import harness
import registries
from registries import Registry, Stub
from test_push import PushCase

FAILED, USAGE, NOT_FOUND, UNSUPPORTED = 1, 2, 3, 6


@unittest.skipUnless(registries.DOCKER_REGISTRY, "docker-registry is not installed")
class Remote(PushCase):
    def serve(self, deletes=True, **more):
        with mock.patch.dict(os.environ, REGISTRY_STORAGE_DELETE_ENABLED=str(deletes).lower()):
            return self.enterContext(Registry(self.folder, **more))

    def tags(self, ref):
        return {row["tag"]: row for row in self.mvm_json("template", "list", "--remote", ref)}

    def test_tags_are_listed_and_deleted_with_their_signatures(self):
        registry = self.serve()
        name = f"{registry.host}/team/web"
        self.mvm_ok("key", "generate", "mine")
        one = self.mvm_json("template", "push", "web", name + ":v1", "--sign", "mine")
        self.mvm_ok("template", "push", "web", name + ":stable")
        self.source("two")
        self.build()
        two = self.mvm_json("template", "push", "web", name + ":v2")
        tags = self.tags("docker://" + name)
        self.assertEqual({tag: row["digest"] for tag, row in tags.items()}, # not the list of signatures
                         {"stable": one["digest"], "v1": one["digest"], "v2": two["digest"]})
        self.assertEqual(tags["v1"], {"tag": "v1", "digest": one["digest"], "bytes": one["blob_bytes"] - self.others(name, one),
                                      "created": None, "is_template": True, "has_snapshot": False, "variants": []})
        self.assertEqual(self.tags(name + ":v2").keys(), {"v2"})
        self.assertEqual(self.tags(f"{name}@{two['digest']}").keys(), {None})
        table = self.mvm_ok("template", "list", "--remote", name)
        self.assertIn(one["digest"][:19], table)
        # a tag names a digest, and all its tags go
        self.mvm_fails(USAGE, "template", "rm", "--remote", name + ":v1", says="give --force")
        self.assertEqual(self.mvm_json("template", "rm", "--remote", name + ":v1", "--force"),
                         {"reference": f"{name}@{one['digest']}", "result": "deleted"})
        self.assertEqual(self.tags(name).keys(), {"v2"})
        gone = self.path("registry/docker/registry/v2/repositories/team/web/_manifests/revisions/sha256")
        left = [d for d in os.listdir(gone) if os.path.exists(os.path.join(gone, d, "link"))]
        self.assertEqual(left, [two["digest"].removeprefix("sha256:")]) # no signature, and no list of them
        self.mvm_fails(NOT_FOUND, "template", "rm", "--remote", name + ":v1", "--force", says="has no tag 'v1'")
        self.mvm_ok("template", "delete", "--remote", f"{name}@{two['digest']}", "--force")
        self.assertEqual(self.tags(name), {})

    def others(self, name, pushed):
        """What a push counts beside the blobs that its manifest names: itself and the signature's parts."""
        repository, host = name.split("/", 1)[1], name.split("/", 1)[0]
        done = subprocess.run(["curl", "-s", "-H", "Accept: " + registries.MANIFEST,
                               f"http://{host}/v2/{repository}/manifests/{pushed['digest']}"], capture_output=True, check=True)
        manifest = json.loads(done.stdout)
        return pushed["blob_bytes"] - manifest["config"]["size"] - sum(layer["size"] for layer in manifest["layers"])

    def test_a_registry_may_refuse(self):
        registry = self.serve(deletes=False)
        name = f"{registry.host}/team/web"
        self.mvm_ok("template", "push", "web", name + ":v1")
        self.mvm_fails(UNSUPPORTED, "template", "rm", "--remote", name + ":v1", "--force",
                       says="it deletes nothing (HTTP status 405)\nhint: its operator must allow deletions")
        self.assertEqual(self.tags(name).keys(), {"v1"})
        self.mvm_fails(NOT_FOUND, "template", "list", "--remote", registry.host + "/none", says="there is no repository")
        for args in ["--remote", name], ["--remote", name + ":v1", "web"], []:
            self.mvm_fails(USAGE, "template", "rm", *args, "--force")

    @harness.needs_program("htpasswd")
    def test_a_login_is_used(self):
        registry = self.serve(auth=registries.only_for(self.folder, "me", "secret"))
        name = f"{registry.host}/team/web"
        self.mvm_fails(FAILED, "template", "list", "--remote", name, says=f"may do this: mvm login {registry.host}")
        self.mvm_ok("login", registry.host, "-u", "me", "--password-stdin", stdin="secret")
        self.mvm_ok("template", "push", "web", name + ":v1")
        self.assertEqual(self.tags(name).keys(), {"v1"})
        self.mvm_ok("template", "rm", "--remote", name + ":v1", "--force")


class Pages(harness.TestCase):
    """A registry that has many tags, or does badly."""

    def serve(self, answer):
        return self.enterContext(Stub(answer))

    def test_pages_are_followed_at_the_registry_itself(self):
        def answer(request):
            path, _, query = request.path.partition("?")
            if path != "/v2/team/web/tags/list":
                return False
            last = "last=b" in query
            link = {} if last else {"Link": '<http://elsewhere.example/v2/team/web/tags/list?n=2&last=b>; rel="next"'}
            request.reply(200, json.dumps({"name": "x", "tags": ["c"] if last else ["a", "b"]}).encode(), **link)
            return True
        stub = self.serve(answer)
        text = json.dumps({"schemaVersion": 2, "layers": [{"size": 5}], "config": {"size": 2},
                           "annotations": {"org.opencontainers.image.created": "2026-01-31T12:00:00Z"}}).encode()
        for tag in "ac": # b is gone meanwhile
            stub.manifests[tag] = text, registries.MANIFEST
        rows = self.mvm_json("template", "list", "--remote", f"{stub.host}/team/web")
        self.assertEqual([(row["tag"], row["bytes"], row["created"], row["is_template"]) for row in rows],
                         [(tag, 7, "2026-01-31T12:00:00Z", False) for tag in "ac"])

    def test_endless_and_wrong_lists_end(self):
        pages = {
            "more than 100 pages": lambda n: (b'{"tags": ["t%d"]}' % n, {"Link": f'</v2/team/web/tags/list?p={n}>; rel="next"'}),
            "more than 10000 tags": lambda n: (json.dumps({"tags": [f"t{n}-{i}" for i in range(1000)]}).encode(),
                                               {"Link": f'</v2/team/web/tags/list?p={n}>; rel="next"'}),
            "something that is no tag": lambda n: (b'{"tags": ["../x"]}', {}),
            "the answer is too long": lambda n: (b" " * (5 << 20), {}),
            "expected": lambda n: (b"{", {}),
        }
        for says, page in pages.items():
            with self.subTest(says):
                stub = self.serve(lambda request, page=page: request.reply(200, *page(len(stub.seen))[:1], **page(len(stub.seen))[1]) or True)
                done = self.mvm("template", "list", "--remote", f"{stub.host}/team/web")
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(says, done.stderr)

    def test_the_right_to_delete_is_asked_for(self):
        def answer(request):
            if request.path.startswith("/token"):
                request.reply(200, b'{"token": "t0ken"}')
            elif request.headers.get("Authorization") != "Bearer t0ken":
                request.reply(401, b"{}", WWW_Authenticate=f'Bearer realm="http://{stub.host}/token",service="s"')
            elif request.command == "DELETE":
                request.reply(202)
            else:
                return False
            return True
        stub = self.serve(answer)
        stub.manifests["v1"] = b'{"schemaVersion": 2}', registries.MANIFEST
        self.mvm_ok("template", "rm", "--remote", f"{stub.host}/team/web:v1", "--force")
        self.assertTrue(any("pull%2Cdelete" in path for _, path in stub.requests("/token")))
        self.assertEqual([method for method, _ in stub.requests("sha256:")][-1], "DELETE")


if __name__ == "__main__":
    harness.main()
