/* SPDX-License-Identifier: Apache-2.0 */
#include "template/settings.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/parse.h"
#include "base/str.h"
#include "model/config_keys.h"
#include "model/model_json.h"
#include "model/run.h"
#include "model/strings.h"

enum kind {
	IS_TEXT,
	IS_LIST,
	IS_ENV,
	IS_U8,
	IS_U32,
	IS_NETWORK,
	IS_INITRD,
	IS_POINT,
	IS_ON_RESTORE, /* a command, or the name of an action */
	IS_HEALTH,     /* all of [health] */
	IS_HEALTH_EXEC,
	IS_HEALTH_HTTP,
	IS_HEALTH_TCP,
	IS_HEALTH_U32,
};

/* In the order of template.toml's documentation. */
static const struct key {
	const char *name;
	enum kind kind;
	size_t offset; /* in struct mvm_template_spec */
} keys[] = {
	{ "flake_ref", IS_TEXT, offsetof(struct mvm_template_spec, flake_ref) },
	{ "profile", IS_TEXT, offsetof(struct mvm_template_spec, profile) },
	{ "role", IS_TEXT, offsetof(struct mvm_template_spec, role) },
	{ "vcpus", IS_U8, offsetof(struct mvm_template_spec, vcpus) },
	{ "mem_mib", IS_U32, offsetof(struct mvm_template_spec, mem_mib) },
	{ "data_disk_mib", IS_U32, offsetof(struct mvm_template_spec, data_disk_mib) },
	{ "root_disk_mib", IS_U32, offsetof(struct mvm_template_spec, root_disk_mib) },
	{ "command", IS_LIST, offsetof(struct mvm_template_spec, run.command) },
	{ "env", IS_ENV, offsetof(struct mvm_template_spec, run.env) },
	{ "user", IS_TEXT, offsetof(struct mvm_template_spec, run.user) },
	{ "workdir", IS_TEXT, offsetof(struct mvm_template_spec, run.workdir) },
	{ "network", IS_NETWORK, offsetof(struct mvm_template_spec, run.network) },
	{ "network.allow", IS_LIST, offsetof(struct mvm_template_spec, run.allow) },
	{ "network.deny", IS_LIST, offsetof(struct mvm_template_spec, run.deny) },
	{ "network.dns", IS_LIST, offsetof(struct mvm_template_spec, run.dns) },
	{ "network.rate_mib", IS_U32, offsetof(struct mvm_template_spec, run.rate_mib) },
	{ "network.rate_packets", IS_U32, offsetof(struct mvm_template_spec, run.rate_packets) },
	{ "initrd", IS_INITRD, offsetof(struct mvm_template_spec, run.initrd) },
	{ "kernel", IS_TEXT, offsetof(struct mvm_template_spec, run.kernel) },
	{ "boot_args", IS_TEXT, offsetof(struct mvm_template_spec, run.boot_args) },
	{ "health", IS_HEALTH, offsetof(struct mvm_template_spec, run.health) },
	{ "health.exec", IS_HEALTH_EXEC, offsetof(struct mvm_template_spec, run.health) },
	{ "health.http", IS_HEALTH_HTTP, offsetof(struct mvm_template_spec, run.health) },
	{ "health.tcp", IS_HEALTH_TCP, offsetof(struct mvm_template_spec, run.health) },
	{ "health.interval_ms", IS_HEALTH_U32,
	  offsetof(struct mvm_template_spec, run.health.interval_ms) },
	{ "health.timeout_s", IS_HEALTH_U32,
	  offsetof(struct mvm_template_spec, run.health.timeout_s) },
	{ "health.retries", IS_HEALTH_U32, offsetof(struct mvm_template_spec, run.health.retries) },
	{ "health.start_grace_s", IS_HEALTH_U32,
	  offsetof(struct mvm_template_spec, run.health.start_grace_s) },
	{ "on_restore", IS_ON_RESTORE, offsetof(struct mvm_template_spec, run) },
	{ "snapshot.point", IS_POINT, offsetof(struct mvm_template_spec, run.snapshot_point) },
};
#define KEYS_N MVM_ARRAY_SIZE(keys)

#define TEXT_OF(x) #x
#define TEXT(x)	   TEXT_OF(x)

/* Defaults that are not empty, 0 or unset. */
static const struct {
	const char *key, *value;
} defaults[] = {
	{ "profile", MVM_DEFAULT_PROFILE },
	{ "role", MVM_DEFAULT_ROLE },
	{ "vcpus", TEXT(MVM_DEFAULT_VCPUS) },
	{ "mem_mib", TEXT(MVM_DEFAULT_MEM_MIB) },
};

static const char *default_of(const struct key *key)
{
	size_t i = 0;
	while (i < MVM_ARRAY_SIZE(defaults) && !str_eq(key->name, defaults[i].key))
		i++;
	return i < MVM_ARRAY_SIZE(defaults) ? defaults[i].value : NULL;
}

/* ---- to a spec ---- */

static int find_key(const char *name, const struct key **ret, struct mvm_error *err)
{
	const char *names[KEYS_N];

	for (size_t i = 0; i < KEYS_N; i++) {
		names[i] = keys[i].name;
		if (str_eq(name, keys[i].name)) {
			*ret = &keys[i];
			return 0;
		}
	}
	const char *nearest = str_nearest(name, names, KEYS_N);
	return mvm_error_set(err, -EINVAL, "there is no setting '%.60s'%s%s%s", name,
			     nearest ? ", did you mean '" : "", nearest ? nearest : "",
			     nearest ? "'?" : "");
}

static int set_text(char **to, const char *from)
{
	bool failed = false;
	char *copy = from ? str_dup(from, &failed) : NULL;
	free(*to);
	*to = copy;
	return failed ? -ENOMEM : 0;
}

static int set_list(struct mvm_strings *to, const struct mvm_template_setting *s)
{
	AUTO_DONE(strv) list = { 0 };

	mvm_strings_done(to);
	for (size_t i = 0; i < s->n_values; i++)
		strv_add(&list, s->values[i]);
	return s->values ? strings_take(&list, to) : 0;
}

/* Add or replace variables; without any, drop all. */
static int set_env(struct mvm_strings *env, const struct mvm_template_setting *s)
{
	AUTO_DONE(strv) all = { 0 };

	for (size_t i = 0; s->n_values && i < env->n; i++) {
		size_t name = strcspn(env->v[i], "=") + 1, k = 0;
		while (k < s->n_values && strncmp(s->values[k], env->v[i], name) != 0)
			k++;
		if (k == s->n_values)
			strv_add(&all, env->v[i]);
	}
	for (size_t i = 0; i < s->n_values; i++)
		strv_add(&all, s->values[i]);
	return strings_take(&all, env);
}

/* 0 stands for a number that is not set. */
static int get_number(const struct key *key, const char *value, uint64_t *ret,
		      struct mvm_error *err)
{
	bool is_health = strncmp(key->name, "health.", 7) == 0;
	const struct config_key *k = config_find_key(is_health ? CONFIG_HEALTH : CONFIG_VARIANT,
						     is_health ? key->name + 7 : key->name);
	*ret = 0;
	if (!value || parse_u64(value, k->min, k->max, ret) == 0)
		return 0;
	return mvm_error_set(err, -EINVAL, "%s: '%.40s' is no number from %" PRIu32 " to %" PRIu32,
			     key->name, value, k->min, k->max);
}

static int set_number(const struct key *key, char *place, const char *value, struct mvm_error *err)
{
	uint64_t number;
	int r = get_number(key, value, &number, err);
	if (r == 0 && key->kind == IS_U8)
		*(uint8_t *)place = (uint8_t)number;
	else if (r == 0)
		memcpy(place, &(uint32_t){ (uint32_t)number }, sizeof(uint32_t));
	return r;
}

static int set_choice(const struct key *key, enum run_choice choice, char *place, const char *value,
		      struct mvm_error *err)
{
	int number = value ? run_choice_parse(choice, value) : 0;
	if (number < 0)
		return mvm_error_set(err, -EINVAL, "%s: '%.40s' is neither \"%s\" nor \"%s\"",
				     key->name, value, run_choice_name(choice, 1),
				     run_choice_name(choice, 2));
	memcpy(place, &(unsigned){ (unsigned)number }, sizeof(unsigned));
	return 0;
}
_Static_assert(sizeof(enum mvm_network) == sizeof(unsigned) &&
		       sizeof(enum mvm_initrd) == sizeof(unsigned) &&
		       sizeof(enum mvm_snapshot_point) == sizeof(unsigned),
	       "set_choice() writes each of them");

/* Set a command, or the name of what happens to the workload. */
static int set_on_restore(struct mvm_run *run, const struct mvm_template_setting *s,
			  struct mvm_error *err)
{
	bool is_action = s->n_values == 1 && restore_action_looks(s->values[0]);
	const struct mvm_template_setting none = { 0 };
	int r = set_text(&run->restore_action, is_action ? s->values[0] : NULL);
	if (r == 0)
		r = set_list(&run->on_restore, is_action ? &none : s);
	return r < 0 ? mvm_error_oom(err) : 0;
}

/* Set a probe, or remove it. */
static int set_health(const struct key *key, struct mvm_health *h,
		      const struct mvm_template_setting *s, struct mvm_error *err)
{
	const char *value = s->n_values ? s->values[0] : NULL;
	enum mvm_health_kind kind;
	uint64_t port;
	int r;

	switch (key->kind) {
	case IS_HEALTH_EXEC:
		kind = MVM_HEALTH_EXEC;
		r = set_list(&h->exec, s);
		break;
	case IS_HEALTH_HTTP:
		kind = MVM_HEALTH_HTTP;
		r = set_text(&h->http, value);
		break;
	default:
		kind = MVM_HEALTH_TCP;
		r = get_number(key, value, &port, err);
		if (r < 0)
			return r;
		h->tcp = (uint16_t)port;
	}
	if (r < 0)
		return mvm_error_oom(err);
	h->set |= s->values != NULL;
	h->kind = s->values ? kind : health_kind(h->exec.n, h->http, h->tcp);
	return 0;
}

static void drop_health(struct mvm_run *run)
{
	struct mvm_run old = { .health = run->health };
	run->health = (struct mvm_health){ 0 };
	mvm_run_done(&old);
}

static int set_one(const struct key *key, struct mvm_template_spec *spec,
		   const struct mvm_template_setting *s, struct mvm_error *err)
{
	void *place = (char *)spec + key->offset;
	const char *value = s->n_values ? s->values[0] : default_of(key);
	int r = 0;

	switch (key->kind) {
	case IS_TEXT:
		r = set_text(place, value);
		break;
	case IS_LIST:
		r = set_list(place, s);
		break;
	case IS_ENV:
		r = set_env(place, s);
		break;
	case IS_NETWORK:
		return set_choice(key, RUN_NETWORK, place, value, err);
	case IS_INITRD:
		return set_choice(key, RUN_INITRD, place, value, err);
	case IS_POINT:
		return set_choice(key, RUN_SNAPSHOT_POINT, place, value, err);
	case IS_ON_RESTORE:
		return set_on_restore(place, s, err);
	case IS_HEALTH:
		return 0; /* settings_apply() has emptied it */
	case IS_HEALTH_EXEC:
	case IS_HEALTH_HTTP:
	case IS_HEALTH_TCP:
		return set_health(key, place, s, err);
	case IS_HEALTH_U32:
		spec->run.health.set |= value != NULL;
		return set_number(key, place, value, err);
	case IS_U8:
	case IS_U32:
		return set_number(key, place, value, err);
	}
	return r < 0 ? mvm_error_oom(err) : 0;
}

/* Has the setting as many values as its key takes? */
static int check_shape(const struct key *key, const struct mvm_template_setting *s,
		       struct mvm_error *err)
{
	bool is_list = key->kind == IS_LIST || key->kind == IS_ENV || key->kind == IS_ON_RESTORE ||
		       key->kind == IS_HEALTH_EXEC;

	if (key->kind == IS_HEALTH && s->values)
		return mvm_error_set(err, -EINVAL, "health: set its keys, as in health.http");
	for (size_t i = 0; i < s->n_values; i++) {
		if (!s->values[i])
			return mvm_error_set(err, -EINVAL, "%s: a value is missing", key->name);
	}
	if (s->values && !is_list && s->n_values != 1)
		return mvm_error_set(err, -EINVAL, "%s: expected one value, not %zu", key->name,
				     s->n_values);
	return 0;
}

/* An empty profile means the default, as in template.toml. */
static int default_profile(struct mvm_template_spec *spec)
{
	return str_empty(spec->profile) ? set_text(&spec->profile, MVM_DEFAULT_PROFILE) : 0;
}

int settings_apply(struct mvm_template_spec *spec, const struct mvm_template_setting *settings,
		   size_t n, struct mvm_error *err)
{
	bool seen[KEYS_N] = { false };
	bool health_is_new = false;

	for (size_t i = 0; i < n; i++) {
		const struct key *key = NULL;
		struct mvm_template_setting s = settings[i];
		if (!s.values)
			s.n_values = 0;
		int r = find_key(s.key ? s.key : "", &key, err);
		if (r < 0)
			return r;
		bool *again = &seen[key - keys];
		if (*again)
			return mvm_error_set(err, -EINVAL, "the setting '%s' comes twice",
					     key->name);
		*again = true;
		bool health = key->kind == IS_HEALTH || (key->kind > IS_HEALTH && s.values);
		if (health && !health_is_new) {
			drop_health(&spec->run);
			health_is_new = true;
		}
		r = check_shape(key, &s, err);
		if (r == 0)
			r = set_one(key, spec, &s, err);
		if (r < 0)
			return r;
	}
	run_tidy(&spec->run);
	return default_profile(spec) < 0 ? mvm_error_oom(err) : 0;
}

/* ---- from a spec ---- */

struct listing {
	struct mvm_template_setting *v; /* room for KEYS_N */
	size_t n;
	bool failed;
};

static void add_values(struct listing *l, const char *key, char *const *values, size_t n)
{
	AUTO_DONE(strv) list = { 0 };

	for (size_t i = 0; i < n; i++)
		strv_add(&list, values[i]);
	if (list.failed || n == 0) {
		l->failed |= list.failed;
		return;
	}
	l->v[l->n++] = (struct mvm_template_setting){
		.key = key,
		.values = (const char *const *)TAKE_PTR(list.v),
		.n_values = n,
	};
	list.n = 0;
}

static void add_text(struct listing *l, const char *key, const char *value)
{
	char *one = (char *)value; /* only read */
	if (value)
		add_values(l, key, &one, 1);
}

static void add_number(struct listing *l, const char *key, uint32_t value)
{
	char text[16];
	snprintf(text, sizeof(text), "%" PRIu32, value);
	if (value)
		add_text(l, key, text);
}

static void add_health(struct listing *l, const struct mvm_health *h)
{
	add_values(l, "health.exec", h->exec.v, h->exec.n);
	add_text(l, "health.http", h->http);
	add_number(l, "health.tcp", h->tcp);
	add_number(l, "health.interval_ms", h->interval_ms);
	add_number(l, "health.timeout_s", h->timeout_s);
	add_number(l, "health.retries", h->retries);
	add_number(l, "health.start_grace_s", h->start_grace_s);
}

int settings_of_run(const struct mvm_run *run, struct mvm_template_setting **ret, size_t *ret_n)
{
	struct listing l = { .v = calloc(KEYS_N, sizeof(*l.v)) };
	if (!l.v)
		return -ENOMEM;
	add_values(&l, "command", run->command.v, run->command.n);
	add_values(&l, "env", run->env.v, run->env.n);
	add_text(&l, "user", run->user);
	add_text(&l, "workdir", run->workdir);
	add_text(&l, "network", run_choice_name(RUN_NETWORK, run->network));
	add_values(&l, "network.allow", run->allow.v, run->allow.n);
	add_values(&l, "network.deny", run->deny.v, run->deny.n);
	add_values(&l, "network.dns", run->dns.v, run->dns.n);
	add_number(&l, "network.rate_mib", run->rate_mib);
	add_number(&l, "network.rate_packets", run->rate_packets);
	add_text(&l, "initrd", run_choice_name(RUN_INITRD, run->initrd));
	add_text(&l, "kernel", run->kernel);
	add_text(&l, "boot_args", run->boot_args);
	add_health(&l, &run->health);
	add_values(&l, "on_restore", run->on_restore.v, run->on_restore.n);
	add_text(&l, "on_restore", run->restore_action);
	add_text(&l, "snapshot.point", run_choice_name(RUN_SNAPSHOT_POINT, run->snapshot_point));
	if (l.failed) {
		settings_free(l.v, l.n);
		return -ENOMEM;
	}
	*ret = l.v;
	*ret_n = l.n;
	return 0;
}

void settings_free(struct mvm_template_setting *settings, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < settings[i].n_values; k++)
			free((char *)settings[i].values[k]);
		free((void *)settings[i].values);
	}
	free(settings);
}
