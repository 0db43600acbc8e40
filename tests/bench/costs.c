/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage: costs FILE COMMAND [ARGUMENT ...]
 *
 * Runs a command and writes its costs to FILE, as JSON.  This is a separate program because a
 * child's peak memory starts at its parent's: Python's would hide the peak of a small program.
 */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail */
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double seconds(const struct timeval *t)
{
	return (double)t->tv_sec + (double)t->tv_usec / 1e6;
}

int main(int argc, char **argv)
{
	struct rusage used;
	int status;

	if (argc < 3)
		return 125;
	double start = now();
	pid_t child = fork();
	if (child == 0) {
		execvp(argv[2], argv + 2);
		perror(argv[2]);
		_exit(127);
	}
	if (child < 0 || wait4(child, &status, 0, &used) < 0) {
		perror("costs");
		return 125;
	}
	double wall = now() - start;
	FILE *out = fopen(argv[1], "we");
	if (!out ||
	    fprintf(out,
		    "{\"wall_s\": %.6f, \"cpu_s\": %.6f, \"read_bytes\": %ld, "
		    "\"written_bytes\": %ld, \"peak_bytes\": %ld}\n",
		    wall, seconds(&used.ru_utime) + seconds(&used.ru_stime), used.ru_inblock * 512,
		    used.ru_oublock * 512, used.ru_maxrss * 1024) < 0 ||
	    fclose(out) != 0) {
		perror(argv[1]);
		return 125;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
