/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "handles.h"
#include "json.h"
#include "options.h"
#include "out.h"

struct listing {
	bool json;
	struct table table;
	struct jsonw j;
};

static void listing_done(struct listing *l)
{
	table_done(&l->table);
	jsonw_done(&l->j);
}
DEFINE_AUTO_DONE(listing, listing_done)

static int add_json(struct jsonw *j, const struct mvm_process *p)
{
	char state[2] = { p->state, '\0' };

	jsonw_open(j, NULL, '{');
	jsonw_u64(j, "pid", (uint64_t)p->pid);
	jsonw_u64(j, "parent_pid", (uint64_t)p->parent_pid);
	jsonw_u64(j, "uid", p->uid);
	jsonw_string(j, "state", state);
	jsonw_u64(j, "cpu_ns", (uint64_t)p->cpu_ns);
	jsonw_u64(j, "memory_bytes", p->memory_bytes);
	jsonw_string(j, "command", p->command);
	jsonw_close(j);
	return 0;
}

static int add(void *arg, const struct mvm_process *p)
{
	struct listing *l = arg;
	char pid[24], parent[24], uid[16], cpu[32], memory[32], state[2] = { p->state, '\0' };

	if (l->json)
		return add_json(&l->j, p);
	snprintf(pid, sizeof(pid), "%" PRId64, p->pid);
	snprintf(parent, sizeof(parent), "%" PRId64, p->parent_pid);
	snprintf(uid, sizeof(uid), "%" PRIu32, p->uid);
	snprintf(cpu, sizeof(cpu), "%.2f s", (double)p->cpu_ns / 1e9);
	str_bytes(p->memory_bytes, memory, sizeof(memory));
	table_row(&l->table, pid, parent, uid, state, cpu, memory, p->command);
	return 0;
}

static int run(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(listing) l = { .json = c->json, .table = { .columns = 7 } };

	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (c->json)
		jsonw_open(&l.j, NULL, '[');
	else
		table_row(&l.table, "PID", "PPID", "UID", "STATE", "CPU", "MEMORY", "COMMAND");
	if (r == 0)
		r = mvm_instance_processes(mvm, args_at(a, 0), &c->progress, add, &l, &c->err);
	if (r < 0)
		return r;
	if (!c->json)
		return table_print(&l.table, stdout);
	jsonw_close(&l.j);
	return jsonw_print(&l.j, stdout);
}

static const struct option options[] = { OPTION_JSON, { 0 } };

const struct command command_top = {
	.path = "top",
	.summary = "Show the processes in a running VM",
	.details = "mvm's agent lists the processes, so the image needs no ps. PIDs "
		   "and UIDs are the guest's; CPU is the time that a process has used "
		   "so far.",
	.positionals = { { .name = "NAME", .help = "the instance", .hint = VALUE_INSTANCE } },
	.options = options,
	.run = run,
};
