# SPDX-License-Identifier: Apache-2.0
"""Every route of mvmd asks for a token, and of the scope that doc/service.md and doc/e2b.md say."""

import json
import re
import subprocess

import harness
import test_mvmd

SCOPES = "read", "exec", "admin"
JSON = {"Content-Type": "application/json"}

# who has no token at all may ask these, or shows another one: a sandbox's, or none to its console
OPEN = re.compile(r"/healthz$|/v1$|/v1/openapi.yaml$|/console|/health$|/files$|/(process|filesystem)\.")
# what GET shows of an instance from inside, and what E2B's packages build, are for who may use it
INSIDE = re.compile(r"/v1/instances/\{name\}/(exec|execs|files|tar|ports)|/(v2/)?(templates|volumes|secrets)(/|$)")
# templates, kernels, pools, the network, volumes of this host
ADMIN = re.compile(r"/v1/(templates|image|pull|prune|kernels|pools|volumes)|/v1/instances/\{name\}/(commit|network)$|"
                   r"/sandboxes/\{sandboxID\}/(snapshots|network)$|/templates/\{templateID\}$")


def scope_of(method, path):
    """The least scope that a route takes; None: it takes none."""
    if OPEN.match(path):
        return None
    if method == "GET":
        return "exec" if INSIDE.match(path) and not path.startswith("/v1/templates") else "read"
    return "admin" if ADMIN.match(path) else "exec"


class Scopes(test_mvmd.Case):
    def test_each_route_refuses_a_token_of_less(self):
        mvmd = subprocess.run([test_mvmd.MVMD, "--routes"], check=True, capture_output=True, text=True,
                              timeout=harness.PATIENCE_S)
        routes = [line.split() for line in mvmd.stdout.splitlines()]
        self.assertGreater(len(routes), 100)
        tokens = {scope: self.token(scope, "--scope", scope) for scope in SCOPES}
        counts = dict.fromkeys((None, *SCOPES), 0)
        for method, path in routes:
            target = re.sub(r"\{\w+\}", "1", path).replace("*", "x/y")
            needs = scope_of(method, path)
            counts[needs] += 1
            nobody = self.ask(method, target, JSON, b"{")[0]
            self.assertEqual(nobody == 401 or "console" in path or needs is None, True, (method, path, nobody))
            if needs is None:
                continue
            for scope in SCOPES:
                # a body that is damaged, so that nothing is done
                status, _, reply = self.ask(method, target, {**tokens[scope], **JSON}, b"{")
                refused = SCOPES.index(scope) < SCOPES.index(needs)
                self.assertEqual(status == 403, refused, (method, path, scope, status, reply))
                if refused:
                    self.assertIn(f"needs a token of scope '{needs}'; '{scope}' has '{scope}'", json.dumps(reply))
        self.assertGreater(min(counts.values()), 5, counts)

    def test_each_method_of_a_guests_port_needs_the_scope_exec(self):
        tokens = {scope: self.token(scope, "--scope", scope) for scope in SCOPES}
        for method in "GET", "POST", "DELETE", "OPTIONS", "PROPFIND":
            for scope in SCOPES:
                status = self.ask(method, "/", {**tokens[scope], "Host": "80-none.localhost"})[0]
                self.assertEqual(status == 403, scope == "read", (method, scope, status))
            self.assertEqual(self.ask(method, "/", {"Host": "80-none.localhost"})[0], 401)


if __name__ == "__main__":
    harness.main()
