/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include <mvm/doctor.h>

#include "base/error.h"
#include "guest_command.h"
#include "handles.h"
#include "json.h"
#include "options.h"
#include "out.h"

#define NS_PER_S    INT64_C(1000000000)
#define INTERVAL_MS 1000

/* The instances at one moment. */
struct sample {
	struct mvm_instance_info_list list;
	struct mvm_host_pressure pressure;
	int64_t at_ns;
};

static void sample_done(struct sample *s)
{
	mvm_instance_info_list_done(&s->list);
	*s = (struct sample){ 0 };
}
DEFINE_AUTO_DONE(sample, sample_done)

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail */
	return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static bool wanted(const struct args *a, const struct mvm_instance_info *info)
{
	if (a->n_positionals == 0)
		return info->vmm_pid > 0;
	for (size_t i = 0; i < a->n_positionals; i++) {
		if (str_eq(args_at(a, i), info->name))
			return true;
	}
	return false;
}

/* Share of one CPU since the last sample; negative when unknown. */
static double cpu_percent(const struct sample *before, const struct sample *s,
			  const struct mvm_instance_info *info)
{
	for (size_t i = 0; i < before->list.n; i++) {
		const struct mvm_instance_info *was = before->list.v[i];
		if (str_eq(was->name, info->name) && was->vmm_pid == info->vmm_pid &&
		    info->cpu_ns >= was->cpu_ns && s->at_ns > before->at_ns)
			return 100.0 * (double)(info->cpu_ns - was->cpu_ns) /
			       (double)(s->at_ns - before->at_ns);
	}
	return -1;
}

static int print_json(const struct args *a, const struct sample *s)
{
	AUTO_DONE(jsonw) j = { .compact = true };
	char pressure[MVM_HOST_PRESSURE_TEXT_SIZE] = "null";
	if (s->pressure.known)
		snprintf(pressure, sizeof(pressure), "{\"cpu\":%.2f,\"memory\":%.2f,\"io\":%.2f}",
			 s->pressure.cpu, s->pressure.memory, s->pressure.io);
	jsonw_open(&j, NULL, '[');
	for (size_t i = 0; i < s->list.n; i++) {
		const struct mvm_instance_info *info = s->list.v[i];
		if (!wanted(a, info))
			continue;
		jsonw_open(&j, NULL, '{');
		jsonw_string(&j, "name", info->name);
		jsonw_string(&j, "state", mvm_instance_state_name(info->state));
		jsonw_string(&j, "health", info->health);
		jsonw_u64(&j, "cpu_ns", info->cpu_ns);
		jsonw_u64(&j, "memory_private_bytes", info->memory_private_bytes);
		jsonw_u64(&j, "memory_shared_bytes", info->memory_shared_bytes);
		jsonw_u64(&j, "disk_bytes", info->disk_bytes);
		jsonw_raw(&j, "host_pressure", pressure);
		jsonw_close(&j);
	}
	jsonw_close(&j);
	return jsonw_print(&j, stdout);
}

static int print_table(const struct args *a, const struct sample *before, const struct sample *s)
{
	AUTO_DONE(table) t = { .columns = 7 };
	table_row(&t, "NAME", "STATE", "CPU", "CPU TIME", "PRIVATE", "SHARED", "DISK");
	for (size_t i = 0; i < s->list.n; i++) {
		const struct mvm_instance_info *info = s->list.v[i];
		char cpu[32] = "-", time[32], private_[32], shared[32], disk[32];
		if (!wanted(a, info))
			continue;
		double percent = cpu_percent(before, s, info);
		if (percent >= 0)
			snprintf(cpu, sizeof(cpu), "%.0f%%", percent);
		snprintf(time, sizeof(time), "%.2f s", (double)info->cpu_ns / NS_PER_S);
		str_bytes(info->memory_private_bytes, private_, sizeof(private_));
		str_bytes(info->memory_shared_bytes, shared, sizeof(shared));
		str_bytes(info->disk_bytes, disk, sizeof(disk));
		table_row(&t, info->name, mvm_instance_state_name(info->state), cpu, time, private_,
			  shared, disk);
	}
	int r = table_print(&t, stdout);
	if (r < 0 || fflush(stdout) != 0)
		return r < 0 ? r : -errno;
	fprintf(stderr, "host: %s\n", s->pressure.text);
	return 0;
}

static int check_names(struct cli_context *c, const struct args *a, const struct sample *s)
{
	for (size_t i = 0; i < a->n_positionals; i++) {
		bool found = false;
		for (size_t k = 0; k < s->list.n; k++)
			found |= str_eq(s->list.v[k]->name, args_at(a, i));
		if (!found) {
			int r = cli_error(c, -ENOENT, "there is no instance '%s'", args_at(a, i));
			return mvm_error_reason(&c->err, r, "no-instance", args_at(a, i));
		}
	}
	return 0;
}

static int take_sample(struct cli_context *c, struct mvm *mvm, struct sample *ret)
{
	ret->at_ns = now_ns();
	ret->pressure.size = sizeof(ret->pressure);
	mvm_host_pressure(&ret->pressure);
	return mvm_instance_list(mvm, &ret->list.v, &ret->list.n, &c->err);
}

static int watch(struct cli_context *c, struct mvm *mvm, const struct args *a, struct sample *last)
{
	AUTO_CLOSE int signals = guest_signals_block(false);
	bool clear = !c->json && isatty(STDOUT_FILENO);

	for (;;) {
		struct pollfd p = { .fd = signals, .events = POLLIN };
		if (fflush(stdout) != 0)
			return -errno;
		if (poll(&p, 1, INTERVAL_MS) != 0) {
			guest_signals_take(signals); /* the signal that ends this, if any */
			return 0;
		}
		AUTO_DONE(sample) s = { 0 };
		int r = take_sample(c, mvm, &s);
		if (r < 0)
			return r;
		if (clear)
			fputs("\033[H\033[J", stdout); /* main looks at the stream's errors */
		r = c->json ? print_json(a, &s) : print_table(a, last, &s);
		if (r < 0)
			return r;
		sample_done(last);
		*last = s;
		s = (struct sample){ 0 };
	}
}

static int run(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(sample) s = { 0 };
	const struct sample none = { 0 };

	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = take_sample(c, mvm, &s);
	if (r == 0)
		r = check_names(c, a, &s);
	if (r == 0)
		r = c->json ? print_json(a, &s) : print_table(a, &none, &s);
	return r == 0 && args_flag(a, "watch") ? watch(c, mvm, a, &s) : r;
}

static const struct option options[] = {
	{ .name = "watch",
	  .letter = 'w',
	  .kind = OPTION_FLAG,
	  .help = "repeat every second, until ^C is pressed" },
	OPTION_JSON,
	{ 0 },
};

const struct command command_stats = {
	.path = "stats",
	.summary = "Show CPU, memory and disk use of instances",
	.details = "PRIVATE is the memory that the instance's VMM has written to, for "
		   "itself and the guest. SHARED is page cache that the VMM maps, such "
		   "as the snapshot's memory, which clones share. DISK is the size of "
		   "the instance's folder. CPU, as a share of one CPU, needs --watch. "
		   "The last line says how long processes have waited for this host in "
		   "the last ten seconds (the kernel's pressure stall information). "
		   "With --json each sample is an array on its own line.",
	.positionals = { { .name = "NAME",
			   .help = "the instances; without NAME all that run",
			   .optional = true,
			   .many = true,
			   .hint = VALUE_INSTANCE } },
	.options = options,
	.examples = "mvm stats\n"
		    "mvm stats --watch web db",
	.run = run,
};
