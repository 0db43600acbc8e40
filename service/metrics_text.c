/* SPDX-License-Identifier: Apache-2.0 */
/* The text that Prometheus reads. */
#include <dirent.h>
#include <fcntl.h>
#include <mvm/instance.h>
#include <mvm/paths.h>
#include <mvm/pool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "metrics.h"

static void add_u64(struct strbuf *b, const char *name, const char *type, const char *help,
		    uint64_t value)
{
	metrics_head(b, name, type, help);
	strbuf_addf(b, "%s %ju\n", name, (uintmax_t)value);
}

static void add_labelled(struct strbuf *b, const char *name, const char *label, const char *value,
			 uint64_t n)
{
	strbuf_addf(b, "%s{%s=\"", name, label);
	metrics_label(b, value);
	strbuf_addf(b, "\"} %ju\n", (uintmax_t)n);
}

static void add_starts(const struct metrics *m, struct strbuf *b)
{
	metrics_head(b, "mvm_starts_total", "counter", "Instances that came up, by kind of start.");
	add_labelled(b, "mvm_starts_total", "kind", "pool", m->pool.count);
	add_labelled(b, "mvm_starts_total", "kind", "restore", m->restored.count);
	add_labelled(b, "mvm_starts_total", "kind", "boot", m->booted.count);
	metrics_head(b, "mvm_start_seconds", "histogram",
		     "Time from a start's beginning until the guest was up.");
	histogram_text(&m->pool.seconds, "mvm_start_seconds", "kind=\"pool\"", b);
	histogram_text(&m->restored.seconds, "mvm_start_seconds", "kind=\"restore\"", b);
	histogram_text(&m->booted.seconds, "mvm_start_seconds", "kind=\"boot\"", b);
	if (m->n_stages > 0)
		metrics_head(b, "mvm_start_stage_seconds", "histogram", "Time of each stage.");
	for (size_t i = 0; i < m->n_stages; i++) {
		char labels[METRICS_NAME_MAX + 16];
		snprintf(labels, sizeof(labels), "stage=\"%s\"", m->stages[i].name);
		histogram_text(&m->stages[i].seconds, "mvm_start_stage_seconds", labels, b);
	}
	if (m->n_reasons > 0)
		metrics_head(b, "mvm_boots_total", "counter",
			     "Instances that booted, by why they were not restored.");
	for (size_t i = 0; i < m->n_reasons; i++)
		add_labelled(b, "mvm_boots_total", "reason", m->reasons[i].name,
			     m->reasons[i].count);
	add_u64(b, "mvm_failures_total", "counter", "Instances that failed, also at their start.",
		m->ended[1]);
	add_u64(b, "mvm_ends_total", "counter", "Instances that ended or were stopped.",
		m->ended[0]);
}

static void add_http(const struct metrics_now *now, struct strbuf *b)
{
	static const char *const classes[] = { "other", "1xx", "2xx", "3xx", "4xx", "5xx" };
	static const char *const works[WORK_CLASSES] = {
		[WORK_READ] = "read",
		[WORK_GUEST] = "guest",
		[WORK_START] = "start",
		[WORK_BUILD] = "build",
	};
	const struct metrics *m = &now->metrics;

	metrics_head(b, "mvmd_requests_total", "counter", "Requests that were answered.");
	for (size_t i = 0; i < MVM_ARRAY_SIZE(classes); i++)
		add_labelled(b, "mvmd_requests_total", "status", classes[i], m->requests[i]);
	metrics_head(b, "mvmd_request_seconds", "histogram",
		     "Time from a request's head until its answer began.");
	histogram_text(&m->request_seconds, "mvmd_request_seconds", "", b);
	metrics_head(b, "mvmd_refused_total", "counter", "Requests that were refused.");
	add_labelled(b, "mvmd_refused_total", "why", "token", m->refused_token);
	add_labelled(b, "mvmd_refused_total", "why", "scope", m->refused_scope);
	add_labelled(b, "mvmd_refused_total", "why", "rate", m->refused_rate);
	add_labelled(b, "mvmd_refused_total", "why", "limit", m->refused_limit);
	add_u64(b, "mvmd_connections", "gauge", "Open connections.", now->connections);
	add_u64(b, "mvmd_requests_open", "gauge", "Requests under way.", now->requests);
	add_u64(b, "mvmd_operations_running", "gauge", "Operations under way.",
		now->operations_running);
	metrics_head(b, "mvmd_work_waiting", "gauge", "Jobs that wait for a thread.");
	for (size_t i = 0; i < MVM_ARRAY_SIZE(works); i++)
		add_labelled(b, "mvmd_work_waiting", "class", works[i], now->waiting[i]);
	metrics_head(b, "mvmd_work_running", "gauge", "Jobs that run.");
	for (size_t i = 0; i < MVM_ARRAY_SIZE(works); i++)
		add_labelled(b, "mvmd_work_running", "class", works[i], now->running[i]);
}

static int add_instances(struct mvm *mvm, struct strbuf *b, struct mvm_error *err)
{
	struct mvm_instance_info **all = NULL;
	uint64_t states[MVM_INSTANCE_SUSPENDED + 1] = { 0 }, private_bytes = 0, vcpus = 0;
	size_t n = 0;

	int r = mvm_instance_list(mvm, &all, &n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		const struct mvm_instance_info *info = all[i];
		if ((size_t)info->state < MVM_ARRAY_SIZE(states))
			states[info->state]++;
		private_bytes += info->memory_private_bytes;
		vcpus += info->vmm_pid ? info->vcpus : 0;
	}
	mvm_instance_list_free(all, n);
	metrics_head(b, "mvm_instances", "gauge", "Instances by state.");
	for (size_t i = 0; i < MVM_ARRAY_SIZE(states); i++)
		add_labelled(b, "mvm_instances", "state",
			     mvm_instance_state_name((enum mvm_instance_state)i), states[i]);
	add_u64(b, "mvm_instances_private_bytes", "gauge",
		"Memory that running instances do not share.", private_bytes);
	add_u64(b, "mvm_instances_vcpus", "gauge", "vCPUs of running instances.", vcpus);
	return 0;
}

static int add_pools(struct mvm *mvm, struct strbuf *b, struct mvm_error *err)
{
	char server[MVM_POOL_SERVER_SIZE] = "";
	struct mvm_pool_info **all = NULL;
	size_t n = 0;

	int r = mvm_pool_list(mvm, &all, &n, server, err);
	if (r < 0)
		return r;
	if (n > 0)
		metrics_head(b, "mvm_pool_size", "gauge", "VMs that shall wait in a pool.");
	for (size_t i = 0; i < n; i++)
		add_labelled(b, "mvm_pool_size", "template", all[i]->template_id, all[i]->size);
	if (n > 0)
		metrics_head(b, "mvm_pool_ready", "gauge", "VMs that wait in a pool.");
	for (size_t i = 0; i < n; i++)
		add_labelled(b, "mvm_pool_ready", "template", all[i]->template_id, all[i]->ready);
	mvm_pool_list_free(all, n);
	add_u64(b, "mvm_pool_served", "gauge", "1 while a process keeps the pools full.",
		server[0] != '\0');
	return 0;
}

/* A line of /proc/meminfo or /proc/self/status, "MemTotal:  16384 kB", in bytes. */
static uint64_t kib_line(const char *text, const char *key)
{
	const char *at = text ? strstr(text, key) : NULL;
	return at ? strtoull(at + strlen(key), NULL, 10) << 10 : 0;
}

static void add_host(const char *data_dir, struct strbuf *b)
{
	AUTO_FREE char *text = NULL, *path = mvm_data_dir(data_dir);
	struct statvfs vfs;
	int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && file_read_fd(fd, (size_t)1 << 16, &text, NULL) == 0) {
		add_u64(b, "mvm_host_memory_bytes", "gauge", "Memory of this host.",
			kib_line(text, "MemTotal:"));
		add_u64(b, "mvm_host_memory_available_bytes", "gauge",
			"Memory of this host that is free for programs.",
			kib_line(text, "MemAvailable:"));
	}
	auto_close(&fd);
	if (!path || statvfs(path, &vfs) < 0)
		return;
	add_u64(b, "mvm_data_bytes", "gauge", "Size of the data folder's file system.",
		(uint64_t)vfs.f_blocks * vfs.f_frsize);
	add_u64(b, "mvm_data_free_bytes", "gauge", "Room in the data folder's file system.",
		(uint64_t)vfs.f_bavail * vfs.f_frsize);
}

static uint64_t count_fds(void)
{
	AUTO_CLOSEDIR DIR *dir = opendir("/proc/self/fd");
	uint64_t n = 0;
	while (dir && readdir(dir))
		n++;
	return n > 3 ? n - 3 : 0; /* ".", ".." and this one */
}

static void add_process(const struct metrics *m, struct strbuf *b)
{
	AUTO_FREE char *text = NULL;
	struct rusage usage = { 0 };
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && file_read_fd(fd, (size_t)1 << 16, &text, NULL) == 0)
		add_u64(b, "process_resident_memory_bytes", "gauge", "Memory of mvmd.",
			kib_line(text, "VmRSS:"));
	auto_close(&fd);
	getrusage(RUSAGE_SELF, &usage);
	metrics_head(b, "process_cpu_seconds_total", "counter", "CPU time of mvmd.");
	strbuf_addf(b, "process_cpu_seconds_total %.6f\n",
		    (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
			    (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
	add_u64(b, "process_open_fds", "gauge", "Open descriptors of mvmd.", count_fds());
	add_u64(b, "process_start_time_seconds", "gauge", "When mvmd began, since 1970.",
		(uint64_t)m->started_at);
}

int metrics_text(const struct metrics_now *now, struct mvm *mvm, const char *data_dir,
		 struct strbuf *b, struct mvm_error *err)
{
	metrics_head(b, "mvmd_info", "gauge", "mvmd's version.");
	add_labelled(b, "mvmd_info", "version", mvm_version(), 1);
	add_starts(&now->metrics, b);
	int r = add_instances(mvm, b, err);
	if (r == 0)
		r = add_pools(mvm, b, err);
	if (r < 0)
		return r;
	add_http(now, b);
	add_host(data_dir, b);
	add_process(&now->metrics, b);
	return b->failed ? mvm_error_oom(err) : 0;
}
