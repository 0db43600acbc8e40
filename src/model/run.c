/* SPDX-License-Identifier: Apache-2.0 */
#include "model/run.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/http_url.h"
#include "base/parse.h"
#include "base/signals.h"
#include "base/str.h"
#include "model/model_json.h"
#include "model/name.h"
#include "model/policy.h"
#include "model/strings.h"

#define BOOT_ARGS_MAX 1024 /* x86 allows 2047 in all; mvm adds arguments of its own */
#define URL_MAX	      2048
#define WORKDIR_MAX   4095 /* the limit of guest/request.c */
#define USER_MAX      255
#define FIELD_HEADER  6 /* WIRE_FIELD_HEADER */

#define RESTORE_RESTART "restart"
#define RESTORE_SIGNAL	"signal:"

static void health_done(struct mvm_health *h)
{
	mvm_strings_done(&h->exec);
	free(h->http);
	json_decref(h->other);
	*h = (struct mvm_health){ 0 };
}

void mvm_run_done(struct mvm_run *run)
{
	mvm_strings_done(&run->command);
	mvm_strings_done(&run->env);
	free(run->workdir);
	free(run->user);
	free(run->kernel);
	free(run->boot_args);
	health_done(&run->health);
	mvm_strings_done(&run->on_restore);
	free(run->restore_action);
	mvm_strings_done(&run->allow);
	mvm_strings_done(&run->deny);
	mvm_strings_done(&run->dns);
	json_decref(run->other);
	*run = (struct mvm_run){ 0 };
}

static int health_copy(const struct mvm_health *from, struct mvm_health *to)
{
	bool failed = false;
	struct mvm_health copy = *from;

	copy.exec = (struct mvm_strings){ 0 };
	copy.http = str_dup(from->http, &failed);
	copy.other = json_incref(from->other);
	int r = strings_copy(&from->exec, &copy.exec);
	if (r < 0 || failed) {
		health_done(&copy);
		return -ENOMEM;
	}
	*to = copy;
	return 0;
}

static void inherit_text(char **to, const char *from, bool *failed)
{
	if (!*to)
		*to = str_dup(from, failed);
}

static void inherit_list(struct mvm_strings *to, const struct mvm_strings *from, bool *failed)
{
	if (!to->v && strings_copy(from, to) < 0)
		*failed = true;
}

bool run_has_network(const struct mvm_run *run)
{
	return run->network != MVM_NETWORK_UNSET || run_has_rules(run);
}

bool run_has_rules(const struct mvm_run *run)
{
	return run->allow.n || run->deny.n || run->dns.n || run->rate_mib || run->rate_packets;
}

int run_inherit(struct mvm_run *to, const struct mvm_run *from)
{
	bool failed = false;

	inherit_list(&to->command, &from->command, &failed);
	inherit_list(&to->env, &from->env, &failed);
	inherit_text(&to->workdir, from->workdir, &failed);
	inherit_text(&to->user, from->user, &failed);
	if (!to->stop_signal)
		to->stop_signal = from->stop_signal;
	if (!run_has_network(to)) { /* all or nothing: rules of two places must not mix */
		to->network = from->network;
		inherit_list(&to->allow, &from->allow, &failed);
		inherit_list(&to->deny, &from->deny, &failed);
		inherit_list(&to->dns, &from->dns, &failed);
		to->rate_mib = from->rate_mib;
		to->rate_packets = from->rate_packets;
	}
	if (to->initrd == MVM_INITRD_UNSET)
		to->initrd = from->initrd;
	inherit_text(&to->kernel, from->kernel, &failed);
	inherit_text(&to->boot_args, from->boot_args, &failed);
	if (!to->health.set && health_copy(&from->health, &to->health) < 0)
		failed = true;
	if (!to->on_restore.v && !to->restore_action) {
		inherit_list(&to->on_restore, &from->on_restore, &failed);
		inherit_text(&to->restore_action, from->restore_action, &failed);
	}
	if (to->snapshot_point == MVM_POINT_UNSET)
		to->snapshot_point = from->snapshot_point;
	if (!to->other)
		to->other = json_incref(from->other);
	return failed ? -ENOMEM : 0;
}

int mvm_run_copy(const struct mvm_run *run, struct mvm_run *ret, struct mvm_error *err)
{
	struct mvm_run copy = { 0 };
	if (run_inherit(&copy, run) < 0) {
		mvm_run_done(&copy);
		return mvm_error_oom(err);
	}
	mvm_run_done(ret);
	*ret = copy;
	return 0;
}

static bool has_variable(const struct mvm_strings *env, const char *pair)
{
	size_t len = strcspn(pair, "=");
	for (size_t i = 0; i < env->n; i++) {
		if (strncmp(env->v[i], pair, len) == 0 && env->v[i][len] == '=')
			return true;
	}
	return false;
}

/* List the image's variables that the template does not set, then the template's. */
static int merge_env(const struct mvm_strings *over, const struct mvm_strings *image,
		     struct mvm_strings *ret)
{
	AUTO_DONE(strv) merged = { 0 };

	for (size_t i = 0; i < image->n; i++) {
		if (!has_variable(over, image->v[i]))
			strv_add(&merged, image->v[i]);
	}
	for (size_t i = 0; i < over->n; i++)
		strv_add(&merged, over->v[i]);
	return strings_take(&merged, ret);
}

int run_over_image(const struct mvm_run *run, const struct mvm_run *image, struct mvm_run *ret,
		   struct mvm_error *err)
{
	struct mvm_run out = { 0 };
	bool failed = false;

	int r = mvm_run_copy(run, &out, err);
	if (r < 0)
		return r;
	inherit_list(&out.command, &image->command, &failed);
	inherit_text(&out.workdir, image->workdir, &failed);
	inherit_text(&out.user, image->user, &failed);
	if (!out.stop_signal)
		out.stop_signal = image->stop_signal;
	if (image->env.n && merge_env(&run->env, &image->env, &out.env) < 0)
		failed = true;
	if (failed) {
		mvm_run_done(&out);
		return mvm_error_oom(err);
	}
	mvm_run_done(ret);
	*ret = out;
	return 0;
}

static void tidy_text(char **s)
{
	if (*s && !**s) {
		free(*s);
		*s = NULL;
	}
}

static void tidy_list(struct mvm_strings *l)
{
	if (l->n == 0)
		mvm_strings_done(l);
}

void run_tidy(struct mvm_run *run)
{
	struct mvm_health *h = &run->health;

	tidy_list(&run->command);
	tidy_list(&run->env);
	tidy_list(&run->allow);
	tidy_list(&run->deny);
	tidy_list(&run->dns);
	tidy_text(&run->workdir);
	tidy_text(&run->user);
	tidy_text(&run->kernel);
	tidy_text(&run->boot_args);
	tidy_list(&run->on_restore);
	tidy_text(&run->restore_action);
	if (run->snapshot_point == MVM_POINT_HEALTHY) /* the default, so it changes no revision */
		run->snapshot_point = MVM_POINT_UNSET;
	if (run->initrd == MVM_INITRD_MVM)
		run->initrd = MVM_INITRD_UNSET;
	if (h->kind == MVM_HEALTH_AGENT && !h->interval_ms && !h->timeout_s && !h->retries &&
	    !h->start_grace_s && !h->other)
		h->set = false;
}

bool mvm_run_empty(const struct mvm_run *run)
{
	return !run->command.n && !run->env.n && str_empty(run->workdir) && str_empty(run->user) &&
	       !run->stop_signal && !run_has_network(run) && run->initrd == MVM_INITRD_UNSET &&
	       str_empty(run->kernel) && str_empty(run->boot_args) && !run->health.set &&
	       !run->on_restore.n && str_empty(run->restore_action) &&
	       run->snapshot_point == MVM_POINT_UNSET && !run->other;
}

static bool printable(const char *s)
{
	for (; *s; s++) {
		if (*s < ' ' || *s > '~')
			return false;
	}
	return true;
}

static bool is_rules(const struct mvm_strings *list)
{
	struct policy_rule rule;
	bool ok = list->n <= POLICY_RULES_MAX;
	for (size_t i = 0; i < list->n && ok; i++)
		ok = policy_rule_parse(list->v[i], &rule, NULL) == 0;
	return ok;
}

static bool is_addresses(const struct mvm_strings *list)
{
	bool ok = list->n <= POLICY_DNS_MAX;
	for (size_t i = 0; i < list->n && ok; i++)
		ok = parse_address_ok(list->v[i]);
	return ok;
}

#define RULES_RULE                                                                                 \
	"expected at most 128 rules, each an address, a range, a domain, \"host:PORT\" or "        \
	"\"internet\", with or without :PORT"

static const char *network_problem(const struct mvm_run *run, const char **ret_key)
{
	if (!is_rules(&run->allow)) {
		*ret_key = "network.allow";
		return RULES_RULE;
	}
	if (!is_rules(&run->deny)) {
		*ret_key = "network.deny";
		return RULES_RULE;
	}
	*ret_key = "network.dns";
	return is_addresses(&run->dns) ? NULL : "expected at most 4 addresses of name servers";
}

static const char *health_problem(const struct mvm_health *h, const char **ret_key)
{
	if (h->kind == MVM_HEALTH_EXEC && (!h->exec.n || !*h->exec.v[0])) {
		*ret_key = "health.exec";
		return "names no program";
	}
	if (h->kind == MVM_HEALTH_HTTP &&
	    (!str_starts(h->http, "http://") || !h->http[7] || !printable(h->http) ||
	     strchr(h->http, ' ') || strlen(h->http) > URL_MAX)) {
		*ret_key = "health.http";
		return "expected a URL that starts with http://";
	}
	return NULL;
}

const char *run_problem(const struct mvm_run *run, const char **ret_key)
{
	unsigned signal;

	if (run->command.n && !*run->command.v[0]) {
		*ret_key = "command";
		return "names no program";
	}
	if (run->on_restore.n && !*run->on_restore.v[0]) {
		*ret_key = "on_restore";
		return "names no program";
	}
	if (run->restore_action && restore_action_parse(run->restore_action, &signal) < 0) {
		*ret_key = "on_restore";
		return RESTORE_ACTION_RULE;
	}
	if (!str_empty(run->workdir) && run->workdir[0] != '/') {
		*ret_key = "workdir";
		return "expected an absolute path";
	}
	if (!str_empty(run->kernel) && !name_valid(NAME_KERNEL, run->kernel)) {
		*ret_key = "kernel";
		return "expected the name of a kernel: 1 to 63 of A-Z a-z 0-9 . _ -";
	}
	if (run->boot_args &&
	    (!printable(run->boot_args) || strlen(run->boot_args) > BOOT_ARGS_MAX)) {
		*ret_key = "boot_args";
		return "expected at most 1024 printable ASCII characters";
	}
	const char *problem = network_problem(run, ret_key);
	if (problem || !run->health.set)
		return problem;
	return health_problem(&run->health, ret_key);
}

/* Size of a list in a message to the agent. */
static size_t list_bytes(const struct mvm_strings *list)
{
	size_t bytes = 0;
	for (size_t i = 0; i < list->n; i++)
		bytes += strlen(list->v[i]) + FIELD_HEADER;
	return bytes;
}

const char *run_input_problem(const struct mvm_run *run, const char **ret_key)
{
	const struct {
		const char *key;
		const struct mvm_strings *list;
	} lists[] = { { "command", &run->command },
		      { "env", &run->env },
		      { "on_restore", &run->on_restore },
		      { "health.exec", &run->health.exec } };
	struct http_url url;
	size_t bytes = 0;

	const char *problem = run_problem(run, ret_key);
	if (problem)
		return problem;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(lists); i++) {
		*ret_key = lists[i].key;
		if (lists[i].list->n > RUN_LIST_MAX)
			return "has more than 4096 items";
		if (lists[i].list == &run->health.exec)
			bytes = 0; /* it is sent in another message */
		bytes += list_bytes(lists[i].list);
		if (bytes > RUN_BYTES_MAX)
			return lists[i].list == &run->health.exec
				       ? "is larger than 56 KiB"
				       : "command, env and on_restore are larger than 56 KiB "
					 "together";
	}
	if (!str_empty(run->workdir) && strlen(run->workdir) > WORKDIR_MAX) {
		*ret_key = "workdir";
		return "is longer than 4095 bytes";
	}
	if (!str_empty(run->user) && strlen(run->user) > USER_MAX) {
		*ret_key = "user";
		return "is longer than 255 bytes";
	}
	if (!run->health.set || run->health.kind != MVM_HEALTH_HTTP)
		return NULL;
	*ret_key = "health.http";
	return http_url_parse(run->health.http, &url);
}

/* Name a setting that needs mvm's agent.  NULL: there is none. */
static const char *needs_agent(const struct mvm_run *run)
{
	if (run->command.n)
		return "command";
	if (run->env.n)
		return "env";
	if (!str_empty(run->workdir))
		return "workdir";
	if (!str_empty(run->user))
		return "user";
	if (run->health.set)
		return "health";
	if (run->on_restore.n || !str_empty(run->restore_action))
		return "on_restore";
	return run->snapshot_point == MVM_POINT_BOOT ? "snapshot.point" : NULL;
}

const char *run_conflict(const struct mvm_run *run, const char **ret_key)
{
	*ret_key = run->initrd == MVM_INITRD_IMAGE ? needs_agent(run) : NULL;
	if (*ret_key)
		return "needs mvm's agent, which initrd = \"image\" boots without";
	if (run->snapshot_point != MVM_POINT_BOOT ||
	    (!run->on_restore.n && str_empty(run->restore_action)))
		return NULL;
	*ret_key = "on_restore";
	return "is not needed: with snapshot.point = \"boot\" each clone starts the workload "
	       "itself";
}

enum mvm_health_kind health_kind(bool exec, bool http, bool tcp)
{
	if (exec)
		return MVM_HEALTH_EXEC;
	if (http)
		return MVM_HEALTH_HTTP;
	return tcp ? MVM_HEALTH_TCP : MVM_HEALTH_AGENT;
}

bool run_starts_in_clone(const struct mvm_run *run)
{
	return run->snapshot_point == MVM_POINT_BOOT ||
	       str_eq(run->restore_action, RESTORE_RESTART);
}

#define CHOICE_VALUES 3 /* not set, and two names */

static const char *const choice_names[][CHOICE_VALUES] = {
	[RUN_NETWORK] = { [MVM_NETWORK_NONE] = "none", [MVM_NETWORK_USER] = "user" },
	[RUN_INITRD] = { [MVM_INITRD_MVM] = "mvm", [MVM_INITRD_IMAGE] = "image" },
	[RUN_SNAPSHOT_POINT] = { [MVM_POINT_BOOT] = "boot", [MVM_POINT_HEALTHY] = "healthy" },
};

const char *run_choice_name(enum run_choice choice, unsigned value)
{
	return choice_names[choice][value];
}

int run_choice_parse(enum run_choice choice, const char *name)
{
	for (int i = 1; i < CHOICE_VALUES; i++) {
		if (strcmp(choice_names[choice][i], name) == 0)
			return i;
	}
	return -EINVAL;
}

bool restore_action_looks(const char *s)
{
	return str_eq(s, RESTORE_RESTART) || str_starts(s, RESTORE_SIGNAL);
}

int restore_action_parse(const char *s, unsigned *ret_signal)
{
	bool restart = str_eq(s, RESTORE_RESTART);
	unsigned signal = str_starts(s, RESTORE_SIGNAL) ? signal_parse(s + strlen(RESTORE_SIGNAL))
							: 0;
	if (!restart && signal == 0)
		return -EINVAL;
	*ret_signal = signal;
	return 0;
}
