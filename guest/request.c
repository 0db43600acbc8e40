/* SPDX-License-Identifier: Apache-2.0 */
#include "request.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/error.h"
#include "net/agent.h"
#include "net/wire.h"

enum kind { NUMBER, TEXT, LIST };

/* Where each field is stored, and its largest number or text length. */
static const struct {
	uint16_t tag;
	enum kind kind;
	const char *name;
	size_t offset;
	uint64_t max;
} fields[] = {
#define AT(member) offsetof(struct request, member)
	{ FIELD_CALL, NUMBER, "CALL", AT(call), UINT32_MAX },
	{ FIELD_TIME_NS, NUMBER, "TIME_NS", AT(time_ns), INT64_MAX },
	{ FIELD_INTERVAL_MS, NUMBER, "INTERVAL_MS", AT(interval_ms), TIMEOUT_MS_MAX },
	{ FIELD_TIMEOUT_MS, NUMBER, "TIMEOUT_MS", AT(timeout_ms), TIMEOUT_MS_MAX },
	{ FIELD_HEALTH_TCP, NUMBER, "HEALTH_TCP", AT(health_tcp), UINT16_MAX },
	{ FIELD_MEMORY_BYTES, NUMBER, "MEMORY_BYTES", AT(memory_bytes), UINT64_MAX },
	{ FIELD_PID, NUMBER, "PID", AT(pid), INT32_MAX },
	{ FIELD_TTY, NUMBER, "TTY", AT(tty), 1 },
	{ FIELD_ROWS, NUMBER, "ROWS", AT(rows), UINT16_MAX },
	{ FIELD_COLUMNS, NUMBER, "COLUMNS", AT(columns), UINT16_MAX },
	{ FIELD_STDIN, NUMBER, "STDIN", AT(has_stdin), 1 },
	{ FIELD_CONTENTS, NUMBER, "CONTENTS", AT(contents), 1 },
	{ FIELD_FOLLOW, NUMBER, "FOLLOW", AT(follow), 1 },
	{ FIELD_HOLES, NUMBER, "HOLES", AT(holes), 1 },
	{ FIELD_BACK, NUMBER, "BACK", AT(back), 1 },
	{ FIELD_SYNC, NUMBER, "SYNC", AT(sync), 1 },
	{ FIELD_SEVER, NUMBER, "SEVER", AT(sever), 1 },
	{ FIELD_HOLD, NUMBER, "HOLD", AT(hold), 1 },
	{ FIELD_OWNER, NUMBER, "OWNER", AT(owner), OWNER_FOLDERS },
	{ FIELD_SIZE, NUMBER, "SIZE", AT(size), UINT64_MAX },
	{ FIELD_SIGNAL, NUMBER, "SIGNAL", AT(stop_signal), 64 },
	{ FIELD_RESTORE_SIGNAL, NUMBER, "RESTORE_SIGNAL", AT(restore_signal), 64 },
	{ FIELD_RESTORE_RESTART, NUMBER, "RESTORE_RESTART", AT(restore_restart), 1 },
	{ FIELD_NO_WORKLOAD, NUMBER, "NO_WORKLOAD", AT(no_workload), 1 },
	{ FIELD_PORT, NUMBER, "PORT", AT(port), UINT16_MAX },
	{ FIELD_PATH, TEXT, "PATH", AT(path), 4095 },
	{ FIELD_NAME, TEXT, "NAME", AT(name), 255 },
	{ FIELD_NOTE, TEXT, "NOTE", AT(note), NOTE_MAX },
	{ FIELD_HOSTNAME, TEXT, "HOSTNAME", AT(hostname), HOSTNAME_MAX },
	{ FIELD_MACHINE_ID, TEXT, "MACHINE_ID", AT(machine_id), 32 },
	{ FIELD_GENERATION, TEXT, "GENERATION", AT(generation), GENERATION_MAX },
	{ FIELD_BOOT_ID, TEXT, "BOOT_ID", AT(boot_id), 36 },
	{ FIELD_ADDRESS, TEXT, "ADDRESS", AT(address), 64 },
	{ FIELD_GATEWAY, TEXT, "GATEWAY", AT(gateway), 64 },
	{ FIELD_DNS, TEXT, "DNS", AT(dns), 64 },
	{ FIELD_WORKDIR, TEXT, "WORKDIR", AT(workdir), 4095 },
	{ FIELD_USER, TEXT, "USER", AT(user), 255 },
	{ FIELD_HEALTH_HTTP, TEXT, "HEALTH_HTTP", AT(health_http), 2048 },
	{ FIELD_ARG, LIST, "ARG", AT(args), UINT32_MAX },
	{ FIELD_ENV, LIST, "ENV", AT(env), UINT32_MAX },
	{ FIELD_RESTORE_ARG, LIST, "RESTORE_ARG", AT(restore_args), UINT32_MAX },
#undef AT
};

static int take_number(const struct wire_field *f, uint64_t max, void *to)
{
	uint64_t value;
	int r = wire_get_u64(f, &value);
	if (r < 0)
		return r;
	if (value > max)
		return -EINVAL;
	memcpy(to, &value, sizeof(value));
	return 0;
}

static int take_text(const struct wire_field *f, uint64_t max, void *to)
{
	char *copy, **slot = to;
	if (f->len > max)
		return -EINVAL;
	int r = wire_get_str(f, &copy);
	if (r < 0)
		return r;
	free(*slot);
	*slot = copy;
	return 0;
}

static int take_item(const struct wire_field *f, void *to)
{
	struct strv *list = to;
	if (memchr(f->data, 0, f->len))
		return -EPROTO;
	strv_addn(list, (const char *)f->data, f->len);
	return list->failed ? -ENOMEM : 0;
}

static int take_entropy(const struct wire_field *f, struct request *ret, struct mvm_error *err)
{
	if (f->len < ENTROPY_MIN || f->len > ENTROPY_MAX)
		return mvm_error_set(err, -EINVAL, "ENTROPY has %u bytes, expected %u to %u",
				     (unsigned)f->len, ENTROPY_MIN, ENTROPY_MAX);
	memcpy(ret->entropy, f->data, f->len);
	ret->entropy_len = f->len;
	return 0;
}

static int take_field(const struct wire_field *f, struct request *ret, struct mvm_error *err)
{
	if (f->tag == FIELD_ENTROPY)
		return take_entropy(f, ret, err);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(fields); i++) {
		if (fields[i].tag != f->tag)
			continue;
		void *to = (char *)ret + fields[i].offset;
		int r;
		if (fields[i].kind == NUMBER)
			r = take_number(f, fields[i].max, to);
		else if (fields[i].kind == TEXT)
			r = take_text(f, fields[i].max, to);
		else
			r = take_item(f, to);
		if (r < 0)
			return mvm_error_set(err, r, "%s: %s", fields[i].name,
					     r == -ENOMEM ? "out of memory" : "bad value");
		return 0;
	}
	return 0; /* ignore fields of newer hosts */
}

static int check_env(const struct strv *env, struct mvm_error *err)
{
	for (size_t i = 0; i < env->n; i++) {
		if (env->v[i][0] == '=' || !strchr(env->v[i], '='))
			return mvm_error_set(err, -EINVAL, "ENV: '%s' is not NAME=VALUE",
					     env->v[i]);
	}
	return 0;
}

int request_parse(const void *payload, size_t len, struct request *ret, struct mvm_error *err)
{
	struct wire_reader reader = { payload, len };
	struct wire_field field;
	int r;
	while ((r = wire_next(&reader, &field)) > 0) {
		r = take_field(&field, ret, err);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return mvm_error_set(err, r, "the call's fields are damaged");
	if (ret->call == 0)
		return mvm_error_set(err, -EPROTO, "the call has no number");
	return check_env(&ret->env, err);
}

void request_done(struct request *q)
{
	char *texts[] = { q->hostname, q->machine_id, q->generation, q->boot_id, q->address,
			  q->gateway,  q->dns,	      q->workdir,    q->user,	 q->health_http,
			  q->path,     q->name,	      q->note };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(texts); i++)
		free(texts[i]);
	strv_done(&q->args);
	strv_done(&q->env);
	strv_done(&q->restore_args);
	*q = (struct request){ 0 };
}
