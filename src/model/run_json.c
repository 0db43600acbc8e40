/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "model/model_json.h"
#include "model/run.h"
#include "model/strings.h"

typedef int list_getter(const struct json_at *at, const char *key, enum json_presence presence,
			struct strv *ret, struct mvm_error *err);

static int read_list(const struct json_at *at, const char *key, list_getter *get,
		     struct mvm_strings *ret, struct mvm_error *err)
{
	AUTO_DONE(strv) list = { 0 };
	int r = get(at, key, JSON_OPTIONAL, &list, err);
	if (r <= 0)
		return r;
	return strings_take(&list, ret) < 0 ? mvm_error_oom(err) : 1;
}

#define SIGNAL_MAX 64u

static int read_bounded(const struct json_at *at, const char *key, uint64_t max, uint32_t *ret,
			struct mvm_error *err)
{
	uint64_t n = 0;
	int r = json_get_u64(at, key, 1, max, JSON_OPTIONAL, &n, err);
	if (r > 0)
		*ret = (uint32_t)n;
	return r;
}

static int health_read(const struct json_at *at, struct mvm_health *ret, struct mvm_error *err)
{
	static const char *const known[] = { "exec",	  "http",    "tcp",	     "interval_ms",
					     "timeout_s", "retries", "start_grace_s" };
	uint32_t port = 0;
	int exec, http, tcp;

	if ((exec = read_list(at, "exec", json_get_strings, &ret->exec, err)) < 0)
		return exec;
	if ((http = json_get_string(at, "http", JSON_OPTIONAL, &ret->http, err)) < 0)
		return http;
	if ((tcp = read_bounded(at, "tcp", UINT16_MAX, &port, err)) < 0)
		return tcp;
	if (exec + http + tcp > 1)
		return json_error(at, NULL, err, "has more than one of exec, http and tcp");
	ret->set = true;
	ret->tcp = (uint16_t)port;
	ret->kind = health_kind(exec > 0, http > 0, tcp > 0);

	int r = read_bounded(at, "interval_ms", UINT32_MAX, &ret->interval_ms, err);
	if (r >= 0)
		r = read_bounded(at, "timeout_s", UINT32_MAX, &ret->timeout_s, err);
	if (r >= 0)
		r = read_bounded(at, "retries", UINT32_MAX, &ret->retries, err);
	if (r >= 0)
		r = read_bounded(at, "start_grace_s", UINT32_MAX, &ret->start_grace_s, err);
	if (r >= 0)
		r = json_unknown(at, known, MVM_ARRAY_SIZE(known), &ret->other, err);
	return r;
}

/* Read a key that has one of two names.  Returns its value, 0 if the key is missing, or -errno. */
static int read_choice(const struct json_at *at, const char *key, enum run_choice choice,
		       struct mvm_error *err)
{
	AUTO_FREE char *name = NULL;
	int r = json_get_string(at, key, JSON_OPTIONAL, &name, err);
	if (r <= 0)
		return r;
	r = run_choice_parse(choice, name);
	if (r < 0)
		return json_error(at, key, err, "expected \"%s\" or \"%s\"",
				  run_choice_name(choice, 1), run_choice_name(choice, 2));
	return r;
}

static int read_network_mode(const struct json_at *at, const char *key, enum mvm_network *ret,
			     struct mvm_error *err)
{
	int r = read_choice(at, key, RUN_NETWORK, err);
	if (r > 0)
		*ret = (enum mvm_network)r;
	return r;
}

/* Read network: a text is the mode, an object has more members. */
static int read_network(const struct json_at *at, struct mvm_run *ret, struct mvm_error *err)
{
	struct json_at network;
	if (json_is_string(json_object_get(at->value, "network")))
		return read_network_mode(at, "network", &ret->network, err);
	int r = json_get_object(at, "network", JSON_OPTIONAL, &network, err);
	if (r <= 0)
		return r;
	if ((r = read_network_mode(&network, "mode", &ret->network, err)) < 0 ||
	    (r = read_list(&network, "allow", json_get_strings, &ret->allow, err)) < 0 ||
	    (r = read_list(&network, "deny", json_get_strings, &ret->deny, err)) < 0)
		return r;
	if ((r = read_list(&network, "dns", json_get_strings, &ret->dns, err)) < 0 ||
	    (r = read_bounded(&network, "rate_mib", UINT32_MAX, &ret->rate_mib, err)) < 0)
		return r;
	return read_bounded(&network, "rate_packets", UINT32_MAX, &ret->rate_packets, err);
}

static int read_initrd(const struct json_at *at, enum mvm_initrd *ret, struct mvm_error *err)
{
	int r = read_choice(at, "initrd", RUN_INITRD, err);
	if (r > 0)
		*ret = (enum mvm_initrd)r;
	return r;
}

static int read_snapshot(const struct json_at *at, enum mvm_snapshot_point *ret,
			 struct mvm_error *err)
{
	struct json_at snapshot;
	int r = json_get_object(at, "snapshot", JSON_OPTIONAL, &snapshot, err);
	if (r > 0)
		r = read_choice(&snapshot, "point", RUN_SNAPSHOT_POINT, err);
	if (r > 0)
		*ret = (enum mvm_snapshot_point)r;
	return r;
}

/* Read on_restore: a list is a command, a text is a restore_action. */
static int read_on_restore(const struct json_at *at, struct mvm_run *ret, struct mvm_error *err)
{
	if (json_is_string(json_object_get(at->value, "on_restore")))
		return json_get_string(at, "on_restore", JSON_OPTIONAL, &ret->restore_action, err);
	return read_list(at, "on_restore", json_get_strings, &ret->on_restore, err);
}

int run_read(const struct json_at *at, struct mvm_run *ret, struct mvm_error *err)
{
	static const char *const known[] = { "command", "env",	      "workdir",     "user",
					     "network", "initrd",     "kernel",	     "boot_args",
					     "health",	"on_restore", "stop_signal", "snapshot" };
	const char *key;
	struct json_at health;
	int r;

	if ((r = read_list(at, "command", json_get_strings, &ret->command, err)) < 0 ||
	    (r = read_list(at, "env", json_get_pairs, &ret->env, err)) < 0 ||
	    (r = json_get_string(at, "workdir", JSON_OPTIONAL, &ret->workdir, err)) < 0 ||
	    (r = json_get_string(at, "user", JSON_OPTIONAL, &ret->user, err)) < 0 ||
	    (r = read_bounded(at, "stop_signal", SIGNAL_MAX, &ret->stop_signal, err)) < 0 ||
	    (r = read_network(at, ret, err)) < 0 || (r = read_initrd(at, &ret->initrd, err)) < 0 ||
	    (r = json_get_string(at, "kernel", JSON_OPTIONAL, &ret->kernel, err)) < 0 ||
	    (r = json_get_string(at, "boot_args", JSON_OPTIONAL, &ret->boot_args, err)) < 0 ||
	    (r = read_on_restore(at, ret, err)) < 0 ||
	    (r = read_snapshot(at, &ret->snapshot_point, err)) < 0)
		return r;
	r = json_get_object(at, "health", JSON_OPTIONAL, &health, err);
	if (r > 0)
		r = health_read(&health, &ret->health, err);
	if (r >= 0)
		r = json_unknown(at, known, MVM_ARRAY_SIZE(known), &ret->other, err);
	if (r < 0)
		return r;

	const char *problem = run_problem(ret, &key);
	if (problem)
		return json_error(at, key, err, "%s", problem);
	run_tidy(ret);
	problem = run_conflict(ret, &key);
	return problem ? json_error(at, key, err, "%s", problem) : 0;
}

static json_t *health_json(struct json_out *out, const struct mvm_health *h)
{
	json_t *o = json_new(out);
	if (h->kind == MVM_HEALTH_EXEC)
		json_put_strings(out, o, "exec", h->exec.v, h->exec.n);
	if (h->kind == MVM_HEALTH_HTTP)
		json_put_string(out, o, "http", h->http);
	if (h->kind == MVM_HEALTH_TCP)
		json_put_u64(out, o, "tcp", h->tcp);
	if (h->interval_ms)
		json_put_u64(out, o, "interval_ms", h->interval_ms);
	if (h->timeout_s)
		json_put_u64(out, o, "timeout_s", h->timeout_s);
	if (h->retries)
		json_put_u64(out, o, "retries", h->retries);
	if (h->start_grace_s)
		json_put_u64(out, o, "start_grace_s", h->start_grace_s);
	json_put_others(out, o, h->other);
	return o;
}

static void put_text(struct json_out *out, json_t *o, const char *key, const char *s)
{
	if (!str_empty(s))
		json_put_string(out, o, key, s);
}

static void put_list(struct json_out *out, json_t *o, const char *key, const struct mvm_strings *l)
{
	if (l->n)
		json_put_strings(out, o, key, l->v, l->n);
}

static void put_network(struct json_out *out, json_t *o, const struct mvm_run *run)
{
	if (!run_has_rules(run)) {
		put_text(out, o, "network", run_choice_name(RUN_NETWORK, run->network));
		return;
	}
	json_t *network = json_new(out);
	put_text(out, network, "mode", run_choice_name(RUN_NETWORK, run->network));
	put_list(out, network, "allow", &run->allow);
	put_list(out, network, "deny", &run->deny);
	put_list(out, network, "dns", &run->dns);
	if (run->rate_mib)
		json_put_u64(out, network, "rate_mib", run->rate_mib);
	if (run->rate_packets)
		json_put_u64(out, network, "rate_packets", run->rate_packets);
	json_put(out, o, "network", network);
}

json_t *run_json(struct json_out *out, const struct mvm_run *run)
{
	json_t *o = json_new(out);
	if (run->command.n)
		json_put_strings(out, o, "command", run->command.v, run->command.n);
	if (run->env.n)
		json_put_pairs(out, o, "env", run->env.v, run->env.n);
	put_text(out, o, "workdir", run->workdir);
	put_text(out, o, "user", run->user);
	if (run->stop_signal)
		json_put_u64(out, o, "stop_signal", run->stop_signal);
	put_network(out, o, run);
	put_text(out, o, "initrd", run_choice_name(RUN_INITRD, run->initrd));
	put_text(out, o, "kernel", run->kernel);
	put_text(out, o, "boot_args", run->boot_args);
	if (run->health.set)
		json_put(out, o, "health", health_json(out, &run->health));
	if (run->on_restore.n)
		json_put_strings(out, o, "on_restore", run->on_restore.v, run->on_restore.n);
	else
		put_text(out, o, "on_restore", run->restore_action);
	if (run->snapshot_point == MVM_POINT_BOOT) {
		json_t *snapshot = json_new(out);
		json_put_string(out, snapshot, "point",
				run_choice_name(RUN_SNAPSHOT_POINT, run->snapshot_point));
		json_put(out, o, "snapshot", snapshot);
	}
	json_put_others(out, o, run->other);
	return o;
}
