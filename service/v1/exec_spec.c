/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/parse.h"
#include "code.h"
#include "codec/json.h"
#include "v1/exec.h"

#define TIMEOUT_MAX_MS (INT64_C(24) * 3600 * 1000)
#define SIGNAL_MAX     64

void exec_spec_done(struct exec_spec *s)
{
	strv_done(&s->command);
	strv_done(&s->env);
	free(s->user);
	free(s->workdir);
	free(s->input);
}

/* Point the options at what was read. */
static int settle(struct exec_spec *s, struct mvm_error *err)
{
	if (s->command.failed || s->env.failed)
		return mvm_error_oom(err);
	if (s->command.n == 0)
		return mvm_error_set(err, -EINVAL, "no command was given");
	s->options.size = sizeof(s->options);
	s->options.command = (const char *const *)s->command.v;
	s->options.env = (const char *const *)s->env.v;
	s->options.user = s->user;
	s->options.workdir = s->workdir;
	return 0;
}

int exec_spec_from_body(struct request *rq, struct exec_spec *ret, struct mvm_error *err)
{
	static const char *const known[] = {
		"command", "env",     "user",	    "workdir", "tty",
		"rows",	   "columns", "timeout_ms", "keep",    "stdin"
	};
	struct mvm_exec_start_options *o = &ret->options;
	uint64_t rows = 0, columns = 0, timeout_ms = 0;
	const struct json_at *at = &rq->body;

	int r = request_only(at, known, MVM_ARRAY_SIZE(known), err);
	if (r < 0)
		return r;
	r = json_get_strings(at, "command", JSON_REQUIRED, &ret->command, err);
	if (r >= 0)
		r = json_get_pairs(at, "env", JSON_NULLABLE, &ret->env, err);
	if (r >= 0)
		r = json_get_string(at, "user", JSON_NULLABLE, &ret->user, err);
	if (r >= 0)
		r = json_get_string(at, "workdir", JSON_NULLABLE, &ret->workdir, err);
	if (r >= 0)
		r = json_get_bool(at, "tty", JSON_OPTIONAL, &o->tty, err);
	if (r >= 0)
		r = json_get_u64(at, "rows", 0, UINT16_MAX, JSON_NULLABLE, &rows, err);
	if (r >= 0)
		r = json_get_u64(at, "columns", 0, UINT16_MAX, JSON_NULLABLE, &columns, err);
	if (r >= 0)
		r = json_get_u64(at, "timeout_ms", 1, TIMEOUT_MAX_MS, JSON_NULLABLE, &timeout_ms,
				 err);
	if (r >= 0)
		r = json_get_bool(at, "keep", JSON_OPTIONAL, &o->keep, err);
	if (r >= 0)
		r = json_get_string(at, "stdin", JSON_NULLABLE, &ret->input, err);
	if (r < 0)
		return request_bad_body(r, err);
	o->rows = (uint16_t)rows;
	o->columns = (uint16_t)columns;
	o->timeout_ms = (int64_t)timeout_ms;
	/* a kept command's input may come later, by its own path */
	o->input = ret->input || o->keep;
	return settle(ret, err);
}

int exec_spec_from_query(const struct request *rq, struct exec_spec *ret, struct mvm_error *err)
{
	struct mvm_exec_start_options *o = &ret->options;
	uint64_t rows = 0, columns = 0;
	const char *user = request_query(rq, "user"), *workdir = request_query(rq, "workdir");
	bool failed = false;

	for (size_t i = 0; i < rq->n_params; i++) {
		const struct query_param *p = &rq->params[i];
		if (strcmp(p->name, "command") == 0)
			strv_add(&ret->command, p->value);
		if (strcmp(p->name, "env") != 0)
			continue;
		if (p->value[0] == '=' || !strchr(p->value, '='))
			return mvm_error_set(err, -EINVAL, "env: '%s' is not NAME=VALUE", p->value);
		strv_add(&ret->env, p->value);
	}
	ret->user = str_dup(user, &failed);
	ret->workdir = str_dup(workdir, &failed);
	if (failed)
		return mvm_error_oom(err);
	int r = request_query_bool(rq, "tty", &o->tty, err);
	if (r == 0)
		r = request_query_bool(rq, "keep", &o->keep, err);
	if (r == 0)
		r = request_query_u64(rq, "rows", 0, UINT16_MAX, &rows, err);
	if (r == 0)
		r = request_query_u64(rq, "columns", 0, UINT16_MAX, &columns, err);
	if (r == 0)
		r = request_query_ms(rq, "timeout", TIMEOUT_MAX_MS, &o->timeout_ms, err);
	o->rows = (uint16_t)rows;
	o->columns = (uint16_t)columns;
	o->input = true;
	return r < 0 ? r : settle(ret, err);
}

int exec_signal_number(const char *text, int *ret, struct mvm_error *err)
{
	static const struct {
		const char *name;
		int number;
	} names[] = { { "HUP", SIGHUP },   { "INT", SIGINT },	 { "QUIT", SIGQUIT },
		      { "KILL", SIGKILL }, { "USR1", SIGUSR1 },	 { "USR2", SIGUSR2 },
		      { "TERM", SIGTERM }, { "CONT", SIGCONT },	 { "STOP", SIGSTOP },
		      { "TSTP", SIGTSTP }, { "WINCH", SIGWINCH } };
	const char *name = strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text;
	uint64_t number = 0;

	for (size_t i = 0; i < MVM_ARRAY_SIZE(names); i++) {
		if (strcasecmp(name, names[i].name) == 0) {
			*ret = names[i].number;
			return 0;
		}
	}
	if (parse_u64(text, 1, SIGNAL_MAX, &number) < 0)
		return mvm_error_set(err, -EINVAL, "'%s' is no signal", text);
	*ret = (int)number;
	return 0;
}

int exec_pid(const struct request *rq, int64_t *ret, struct mvm_error *err)
{
	uint64_t pid = 0;
	if (parse_u64(request_arg(rq, 1), 1, INT32_MAX, &pid) < 0)
		return mvm_error_set(err, -ENOENT, "'%s' is no pid", request_arg(rq, 1));
	*ret = (int64_t)pid;
	return 0;
}

json_t *exec_started_json(const struct mvm_exec_event *event)
{
	return json_pack("{s:s, s:I}", "event", "started", "pid", (json_int_t)event->pid);
}

json_t *exec_exited_json(const struct mvm_exec_event *event)
{
	return json_pack("{s:s, s:i, s:i}", "event", "exited", "status", event->status, "signal",
			 event->signal);
}

json_t *exec_error_json(const struct mvm_error *err)
{
	return json_pack("{s:s, s:o}", "event", "error", "error", code_json(err));
}
