/* SPDX-License-Identifier: Apache-2.0 */
/* Starting instances: from a template, from another instance, and again. */
#include <errno.h>
#include <mvm/suspend.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "base/error.h"
#include "owned.h"
#include "server.h"
#include "v1/instances.h"

#define MS_MAX (INT64_MAX / 1000000)

/* The body of a start, and what its options point to. */
struct start {
	struct mvm_start_options options;
	uint64_t count; /* 0: one, and the answer is no list */
	char *template_ref, *name, *kind, *backend, *hostname, *restart, *ttl_action, *idle_action;
	struct strv env, labels, allow, deny, dns, ports, volume_texts;
	struct mvm_forward *forwards;
	struct mvm_volume *volumes;
};

static void start_done(struct start *s)
{
	char *texts[] = { s->template_ref, s->name,    s->kind,	      s->backend,
			  s->hostname,	   s->restart, s->ttl_action, s->idle_action };
	struct strv *lists[] = { &s->env, &s->labels, &s->allow,       &s->deny,
				 &s->dns, &s->ports,  &s->volume_texts };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(texts); i++)
		free(texts[i]);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(lists); i++)
		strv_done(lists[i]);
	for (size_t i = 0; s->volumes && i < s->options.n_volumes; i++)
		mvm_volume_done(&s->volumes[i]);
	free(s->volumes);
	free(s->forwards);
}
DEFINE_AUTO_DONE(start, start_done)

static const char *const start_members[] = {
	"template",	 "name",	 "count",	   "kind",	     "backend",
	"vcpus",	 "mem_mib",	 "root_disk_mib",  "ports",	     "volumes",
	"env",		 "labels",	 "hostname",	   "restart",	     "keep_running",
	"remove_at_end", "exec",	 "private_memory", "verify",	     "no_workload",
	"ttl_ms",	 "ttl_action",	 "on_idle_ms",	   "on_idle_action", "log_max_bytes",
	"network_allow", "network_deny", "network_dns",	   "no_network",     "volume_timeout_ms",
};

static int read_texts(const struct json_at *at, struct start *s, struct mvm_error *err)
{
	const struct {
		const char *key;
		char **to;
	} texts[] = {
		{ "template", &s->template_ref },
		{ "name", &s->name },
		{ "kind", &s->kind },
		{ "backend", &s->backend },
		{ "hostname", &s->hostname },
		{ "restart", &s->restart },
		{ "ttl_action", &s->ttl_action },
		{ "on_idle_action", &s->idle_action },
	};
	const struct {
		const char *key;
		struct strv *to;
	} lists[] = {
		{ "ports", &s->ports },		{ "volumes", &s->volume_texts },
		{ "network_allow", &s->allow }, { "network_deny", &s->deny },
		{ "network_dns", &s->dns },
	};
	int r = 0;
	for (size_t i = 0; r >= 0 && i < MVM_ARRAY_SIZE(texts); i++)
		r = json_get_string(at, texts[i].key, i ? JSON_NULLABLE : JSON_REQUIRED,
				    texts[i].to, err);
	for (size_t i = 0; r >= 0 && i < MVM_ARRAY_SIZE(lists); i++)
		r = json_get_strings(at, lists[i].key, JSON_NULLABLE, lists[i].to, err);
	if (r >= 0)
		r = json_get_pairs(at, "env", JSON_NULLABLE, &s->env, err);
	if (r >= 0)
		r = json_get_pairs(at, "labels", JSON_NULLABLE, &s->labels, err);
	return r;
}

static int read_numbers(const struct json_at *at, struct start *s, struct mvm_error *err)
{
	struct mvm_start_options *o = &s->options;
	uint64_t vcpus = 0, mem = 0, root = 0, ttl = 0, idle = 0, log = 0, volumes = 0;
	const struct {
		const char *key;
		uint64_t min, max, *to;
	} numbers[] = {
		{ "count", 1, MVM_START_MANY_MAX, &s->count },
		{ "vcpus", 1, 1024, &vcpus },
		{ "mem_mib", 1, UINT32_MAX, &mem },
		{ "root_disk_mib", 1, UINT32_MAX, &root },
		{ "ttl_ms", 1, MS_MAX, &ttl },
		{ "on_idle_ms", 1, MS_MAX, &idle },
		{ "log_max_bytes", 1, JSON_U64_MAX, &log },
		{ "volume_timeout_ms", 1, MS_MAX, &volumes },
	};
	const struct {
		const char *key;
		bool *to;
	} flags[] = {
		{ "keep_running", &o->keep_running },
		{ "remove_at_end", &o->remove_at_end },
		{ "exec", &o->exec },
		{ "private_memory", &o->private_memory },
		{ "verify", &o->verify },
		{ "no_workload", &o->no_workload },
		{ "no_network", &o->no_network },
	};
	int r = 0;
	for (size_t i = 0; r >= 0 && i < MVM_ARRAY_SIZE(numbers); i++)
		r = json_get_u64(at, numbers[i].key, numbers[i].min, numbers[i].max, JSON_NULLABLE,
				 numbers[i].to, err);
	for (size_t i = 0; r >= 0 && i < MVM_ARRAY_SIZE(flags); i++)
		r = json_get_bool(at, flags[i].key, JSON_NULLABLE, flags[i].to, err);
	o->vcpus = (unsigned)vcpus;
	o->mem_mib = (uint32_t)mem;
	o->root_disk_mib = (uint32_t)root;
	o->ttl_ms = (int64_t)ttl;
	o->on_idle_ms = (int64_t)idle;
	o->log_max_bytes = log;
	o->volume_timeout_ms = (int64_t)volumes;
	return r;
}

static int read_words(struct start *s, struct mvm_error *err)
{
	static const char *const kinds[] = { "auto", "cold", "require-snapshot" };
	static const char *const actions[] = { "stop", "suspend" };
	struct mvm_start_options *o = &s->options;

	int r = word_of("kind", s->kind, kinds, MVM_ARRAY_SIZE(kinds), err);
	o->kind = r < 0 ? MVM_START_AUTO : (enum mvm_start_kind)r;
	if (r >= 0)
		r = word_of("ttl_action", s->ttl_action, actions, 2, err);
	o->ttl_action = r == 1 ? MVM_THEN_SUSPEND : MVM_THEN_STOP;
	if (r >= 0)
		r = word_of("on_idle_action", s->idle_action, actions, 2, err);
	o->on_idle_action = r == 1 ? MVM_THEN_SUSPEND : MVM_THEN_STOP;
	if (r >= 0 && s->restart)
		r = mvm_restart_parse(s->restart, &o->restart, &o->restart_max, err);
	return r;
}

static int read_forwards(struct start *s, struct mvm_error *err)
{
	s->forwards = calloc(s->ports.n + 1, sizeof(*s->forwards));
	if (!s->forwards)
		return mvm_error_oom(err);
	for (size_t i = 0; i < s->ports.n; i++) {
		int r = mvm_forward_parse(s->ports.v[i], &s->forwards[i], err);
		if (r < 0)
			return r;
	}
	s->options.forwards = s->forwards;
	s->options.n_forwards = s->ports.n;
	return 0;
}

/* A port of this host that a client names may be one that another service wants or is waited for
 * at, and another address than loopback opens the guest to others.  Who may only start instances
 * gets a free port of loopback. */
static int check_forwards(const struct request *rq, const struct start *s, struct mvm_error *err)
{
	int r = 0;
	for (size_t i = 0; i < s->options.n_forwards && r == 0; i++) {
		const struct mvm_forward *f = &s->forwards[i];
		bool loopback = !*f->host_address || str_starts(f->host_address, "127.") ||
				str_eq(f->host_address, "::1");
		if (f->host_port || !loopback)
			r = access_check_admin(rq, "a port or an address of this host's in 'ports'",
					       err);
	}
	return r;
}

/* Only those who may read this host's files anyway can name its folders. */
static int read_volumes(const struct request *rq, struct start *s, struct mvm_error *err)
{
	s->volumes = calloc(s->volume_texts.n + 1, sizeof(*s->volumes));
	if (!s->volumes)
		return mvm_error_oom(err);
	s->options.volumes = s->volumes;
	for (size_t i = 0; i < s->volume_texts.n; i++) {
		const char *text = s->volume_texts.v[i];
		if (text[0] == '.')
			return mvm_error_set(err, -EINVAL,
					     "body: volumes: '%s' is not an absolute path", text);
		if (text[0] == '/' && !rq->listener->path)
			return mvm_error_set(err, -EACCES,
					     "folders of the host are for clients of the Unix "
					     "socket; give the name of a volume");
		int r = mvm_volume_parse(text, &s->volumes[i], err);
		if (r < 0)
			return r;
		s->options.n_volumes++;
	}
	return 0;
}

static int read_start(const struct request *rq, struct start *s, struct mvm_error *err)
{
	struct mvm_start_options *o = &s->options;
	int r = request_only(&rq->body, start_members, MVM_ARRAY_SIZE(start_members), err);
	if (r >= 0)
		r = read_texts(&rq->body, s, err);
	if (r >= 0)
		r = read_numbers(&rq->body, s, err);
	if (r < 0)
		return request_bad_body(r, err);
	r = read_words(s, err);
	if (r >= 0)
		r = read_forwards(s, err);
	if (r >= 0)
		r = check_forwards(rq, s, err);
	if (r >= 0)
		r = read_volumes(rq, s, err);
	/* they could open what the template, or the host's owner, has closed */
	if (r >= 0 && s->allow.n)
		r = access_check_admin(rq, "'network_allow'", err);
	if (r >= 0 && s->dns.n)
		r = access_check_admin(rq, "'network_dns'", err);
	o->template_ref = s->template_ref;
	o->name = s->name;
	o->backend = s->backend;
	o->hostname = s->hostname;
	o->env = (const char *const *)s->env.v;
	o->labels = (const char *const *)s->labels.v;
	o->network_allow = (const char *const *)s->allow.v;
	o->network_deny = (const char *const *)s->deny.v;
	o->network_dns = (const char *const *)s->dns.v;
	return r;
}

/* ---- answers ---- */

/* An instance's record: as it is, or when it has ended and gone by now, as it was at its start. */
static json_t *record_of(struct mvm *mvm, const struct mvm_instance *instance)
{
	struct mvm_instance_info *info = NULL;
	int r = mvm_instance_inspect(mvm, mvm_instance_name(instance), &info, NULL);
	const char *text = r == 0 ? info->json : mvm_instance_start_json(instance);
	json_t *o = text ? json_loads(text, 0, NULL) : NULL;
	mvm_instance_info_free(info);
	return o;
}

/* Close the connections, and leave the records as the answer: a list, or a single one. */
static int answer_started(struct request *rq, struct mvm *mvm, struct mvm_instance **v, size_t n,
			  bool list, struct mvm_error *err)
{
	json_t *o = list ? json_array() : record_of(mvm, v[0]);
	for (size_t i = 0; i < n; i++) {
		if (list)
			json_array_append_new(o, record_of(mvm, v[i]));
		mvm_instance_close(v[i]);
	}
	return request_answer(rq, 201, o, err);
}

int work_start(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	AUTO_DONE(start) s = { .options = MVM_START_OPTIONS_INIT };
	struct mvm_instance *one = NULL;

	int r = read_start(rq, &s, err);
	if (r < 0 || !mvm)
		return r;
	if (s.count == 0) {
		r = owned_start(rq, mvm, &s.options, &one, err);
		return r < 0 ? r : answer_started(rq, mvm, &one, 1, false, err);
	}
	AUTO_FREE struct mvm_instance **many = calloc(s.count, sizeof(*many));
	if (!many)
		return mvm_error_oom(err);
	r = owned_start_many(rq, mvm, &s.options, (uint32_t)s.count, many, err);
	return r < 0 ? r : answer_started(rq, mvm, many, s.count, true, err);
}

int work_start_again(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	struct mvm_instance *one = NULL;
	int r = request_only(&rq->body, NULL, 0, err);
	if (r < 0 || !mvm)
		return r;
	r = owned_start_again(rq, mvm, request_arg(rq, 0), &one, err);
	mvm_instance_close(one);
	return r < 0 ? r : answer_instance(rq, mvm, 200, request_arg(rq, 0), err);
}

int work_restart(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	static const char *const known[] = { "timeout_ms" };
	struct mvm_instance *one = NULL;
	uint64_t timeout_ms = 10000;
	int r = request_only(&rq->body, known, MVM_ARRAY_SIZE(known), err);
	if (r >= 0)
		r = request_bad_body(json_get_u64(&rq->body, "timeout_ms", 0, MS_MAX, JSON_NULLABLE,
						  &timeout_ms, err),
				     err);
	if (r < 0 || !mvm)
		return r;
	r = owned_restart(rq, mvm, request_arg(rq, 0), (int64_t)timeout_ms, &one, err);
	mvm_instance_close(one);
	return r < 0 ? r : answer_instance(rq, mvm, 200, request_arg(rq, 0), err);
}

int work_fork(struct request *rq, struct mvm *mvm, struct mvm_error *err)
{
	static const char *const known[] = { "name", "count", "remove_at_end" };
	struct mvm_fork_options options = MVM_FORK_OPTIONS_INIT;
	AUTO_FREE char *name = NULL;
	uint64_t count = 0;
	int r = request_only(&rq->body, known, MVM_ARRAY_SIZE(known), err);
	if (r >= 0)
		r = json_get_string(&rq->body, "name", JSON_NULLABLE, &name, err);
	if (r >= 0)
		r = json_get_u64(&rq->body, "count", 1, MVM_START_MANY_MAX, JSON_NULLABLE, &count,
				 err);
	if (r >= 0)
		r = json_get_bool(&rq->body, "remove_at_end", JSON_NULLABLE, &options.remove_at_end,
				  err);
	if (r < 0 || !mvm)
		return request_bad_body(r, err);
	options.name = name;
	bool list = count > 0;
	count = list ? count : 1;
	AUTO_FREE struct mvm_instance **v = calloc(count, sizeof(*v));
	if (!v)
		return mvm_error_oom(err);
	r = owned_fork(rq, mvm, request_arg(rq, 0), &options, (uint32_t)count, v, err);
	return r < 0 ? r : answer_started(rq, mvm, v, count, list, err);
}
