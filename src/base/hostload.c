/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hostload.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

#define PROC_FILE_MAX ((size_t)64 * 1024)

/* Thresholds above which most starts and answers wait in a queue. */
#define CPU_BUSY     80.0
#define MEMORY_BUSY  10.0
#define FULL_STALL   30.0 /* of memory or the disk: no process makes progress */
#define LOAD_PER_CPU 2.0

static char *read_text(int proc_fd, const char *name)
{
	char *text = NULL;
	AUTO_CLOSE int fd = openat(proc_fd, name, O_RDONLY | O_CLOEXEC);
	return fd >= 0 && file_read_fd(fd, PROC_FILE_MAX, &text, NULL) >= 0 ? text : NULL;
}

/* "some avg10=1.23 avg60=...": the number after avg10, of the line that begins with `line`. */
static double avg10(const char *text, const char *line)
{
	const char *at = text ? strstr(text, line) : NULL;
	const char *value = at ? strstr(at, "avg10=") : NULL;
	return value ? strtod(value + strlen("avg10="), NULL) : 0;
}

/* The number after total in "some avg10=0.00 avg60=0.00 avg300=0.00 total=1234". */
static int64_t some_total_us(const char *text)
{
	const char *at = text ? strstr(text, "total=") : NULL;
	return at ? strtoll(at + strlen("total="), NULL, 10) : 0;
}

enum { CPU, MEMORY, IO, LOAD };

void hostload_open(int proc_fd, unsigned cpus, struct hostload_files *ret)
{
	static const char *const names[HOSTLOAD_FILES] = {
		[CPU] = "pressure/cpu",
		[MEMORY] = "pressure/memory",
		[IO] = "pressure/io",
		[LOAD] = "loadavg",
	};
	ret->cpus = cpus;
	for (size_t i = 0; i < HOSTLOAD_FILES; i++)
		ret->fd[i] = openat(proc_fd, names[i], O_RDONLY | O_CLOEXEC);
}

void hostload_files_done(struct hostload_files *f)
{
	for (size_t i = 0; i < HOSTLOAD_FILES; i++)
		auto_close(&f->fd[i]);
	*f = (struct hostload_files)HOSTLOAD_FILES_NONE;
}

static char *read_again(int fd)
{
	char *text = NULL;
	if (fd < 0 || lseek(fd, 0, SEEK_SET) < 0 ||
	    file_read_fd(fd, PROC_FILE_MAX, &text, NULL) < 0)
		return NULL;
	return text;
}

void hostload_read_files(const struct hostload_files *f, struct hostload *ret)
{
	AUTO_FREE char *cpu = read_again(f->fd[CPU]);
	AUTO_FREE char *memory = read_again(f->fd[MEMORY]);
	AUTO_FREE char *io = read_again(f->fd[IO]);
	AUTO_FREE char *load = read_again(f->fd[LOAD]);

	*ret = (struct hostload){
		.has_pressure = cpu && memory && io,
		.cpu = avg10(cpu, "some"),
		.memory = avg10(memory, "some"),
		.io = avg10(io, "some"),
		.memory_full = avg10(memory, "full"),
		.io_full = avg10(io, "full"),
		.load_per_cpu = load ? strtod(load, NULL) / f->cpus : 0,
		.cpu_waited_us = some_total_us(cpu),
	};
}

bool hostload_was_busy(const struct hostload *before, const struct hostload *now,
		       int64_t elapsed_ns)
{
	double waited_ns = (double)(now->cpu_waited_us - before->cpu_waited_us) * 1000;
	return before->has_pressure && now->has_pressure &&
	       waited_ns * 100 >= CPU_BUSY * (double)elapsed_ns;
}

unsigned hostload_cpus(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	return cpus > 0 ? (unsigned)cpus : 1;
}

void hostload_read(struct hostload *ret)
{
	struct hostload_files files;
	AUTO_CLOSE int proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	hostload_open(proc_fd, hostload_cpus(), &files);
	hostload_read_files(&files, ret);
	hostload_files_done(&files);
}

bool hostload_is_slow(const struct hostload *h)
{
	if (!h->has_pressure)
		return h->load_per_cpu >= LOAD_PER_CPU;
	return h->cpu >= CPU_BUSY || h->memory_full >= FULL_STALL || h->io_full >= FULL_STALL;
}

bool hostload_is_short_of_memory(const struct hostload *h)
{
	return h->has_pressure && h->memory >= MEMORY_BUSY;
}

void hostload_describe(const struct hostload *h, char ret[HOSTLOAD_TEXT_SIZE])
{
	if (h->has_pressure)
		snprintf(ret, HOSTLOAD_TEXT_SIZE,
			 "processes wait for a CPU %.0f %%, for memory %.0f %%, for the "
			 "disk %.0f %% of the time",
			 h->cpu, h->memory, h->io);
	else
		snprintf(ret, HOSTLOAD_TEXT_SIZE, "%.1f processes run or wait for each CPU",
			 h->load_per_cpu);
}

unsigned hostload_starts_at_once(const struct hostload *h, unsigned cpus)
{
	if (hostload_is_short_of_memory(h))
		return 1;
	bool busy = h->has_pressure ? h->cpu >= CPU_BUSY : h->load_per_cpu >= LOAD_PER_CPU;
	return busy ? cpus : 2 * cpus;
}

bool hostload_oom_kills(uint64_t *ret)
{
	AUTO_CLOSE int proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_FREE char *text = proc_fd < 0 ? NULL : read_text(proc_fd, "vmstat");
	const char *line = text ? strstr(text, "\noom_kill ") : NULL;
	if (!line)
		return false;
	*ret = strtoull(line + strlen("\noom_kill "), NULL, 10);
	return true;
}
