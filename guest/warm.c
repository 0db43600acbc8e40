/* SPDX-License-Identifier: Apache-2.0 */
#include "warm.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "command.h"
#include "init.h"

#define SHELL		  "sh"
#define LOADER_TIMEOUT_MS 5000
#define LIST_MAX	  65536u /* bytes of a loader's output */
#define HEADERS_MAX	  64u	 /* of an ELF file */
#define SCRIPTS_MAX	  4u	 /* interpreters of interpreters; Linux allows 5 */

struct warm {
	struct agent *agent;
	struct user user;
	struct strv env;
	int dir_fd;	  /* base of relative paths */
	size_t left;	  /* bytes that we may still read */
	char room[65536]; /* scratch for reads; its content is unused */
};

/* Read a file, so that it is in the page cache.  Returns its open descriptor, or -errno. */
static int read_file(struct warm *w, const char *path)
{
	struct stat st;
	ssize_t n = 1;
	AUTO_CLOSE int fd = openat(w->dir_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	while (n > 0 && w->left > 0) {
		n = read(fd, w->room, w->left < sizeof(w->room) ? w->left : sizeof(w->room));
		w->left -= n > 0 ? (size_t)n : 0;
	}
	return n < 0 ? -errno : TAKE_FD(fd);
}

static void warm_file(struct warm *w, const char *path)
{
	int fd = read_file(w, path);
	if (fd >= 0)
		close(fd); /* only read from */
}

/* Find the loader of a dynamic program's libraries; "" when the program has none. */
static void find_loader(int fd, char ret[PATH_MAX])
{
	Elf64_Ehdr head;
	Elf64_Phdr ph;
	ret[0] = '\0';
	if (pread(fd, &head, sizeof(head), 0) != (ssize_t)sizeof(head) ||
	    memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_ident[EI_CLASS] != ELFCLASS64 ||
	    head.e_phentsize != sizeof(ph) || head.e_phoff > INT64_MAX / 2)
		return;
	for (unsigned i = 0; i < head.e_phnum && i < HEADERS_MAX; i++) {
		if (pread(fd, &ph, sizeof(ph), (off_t)(head.e_phoff + i * sizeof(ph))) !=
		    (ssize_t)sizeof(ph))
			return;
		if (ph.p_type != PT_INTERP || ph.p_filesz >= PATH_MAX || ph.p_offset > INT64_MAX)
			continue;
		ssize_t n = pread(fd, ret, ph.p_filesz, (off_t)ph.p_offset);
		ret[n < 0 ? 0 : n] = '\0';
		return;
	}
}

char *warm_library(char *line)
{
	char *end = strstr(line, " (0x"), *arrow = strstr(line, "=> ");
	char *path = arrow && end && arrow < end ? arrow + strlen("=> ")
						 : line + strspn(line, " \t");
	if (!end || *path != '/')
		return NULL;
	*end = '\0';
	return path;
}

/* Read a loader's whole output, a list of libraries, and warm these. */
static void take_list(struct warm *w, int fd)
{
	int64_t deadline_ns = clock_deadline_ns(LOADER_TIMEOUT_MS);
	AUTO_DONE(strbuf) list = { 0 };
	struct pollfd p = { .fd = fd, .events = POLLIN };
	ssize_t n = 1;

	while (n > 0 && list.len < LIST_MAX && poll(&p, 1, clock_remaining_ms(deadline_ns)) > 0) {
		n = read(fd, w->room, sizeof(w->room));
		if (n > 0)
			strbuf_add(&list, w->room, (size_t)n);
	}
	char *rest = list.data, *line;
	while (!list.failed && (line = strsep(&rest, "\n"))) {
		char *path = warm_library(line);
		if (path)
			warm_file(w, path);
	}
}

/* Warm a program's libraries, which its loader finds.  With the option --list, which the loaders of
 * glibc and musl have, the loader runs no code of the program or its libraries. */
static void warm_libraries(struct warm *w, const char *loader, const char *program)
{
	char list[] = "--list", *argv[] = { (char *)loader, list, (char *)program, NULL };
	struct child child = { 0 };
	int fds[2];

	AUTO_CLOSE int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null_fd < 0 || pipe2(fds, O_CLOEXEC) < 0)
		return;
	AUTO_CLOSE int from = fds[0];
	AUTO_CLOSE int to = fds[1];
	const struct spawn_spec spec = {
		.argv = argv,
		.env = w->env.v,
		.workdir = w->agent->workdir,
		.user = &w->user,
		.fds = { null_fd, to, null_fd },
		.cgroup = -1, /* the agent's own, which is not frozen */
	};
	if (child_spawn(&w->agent->children, &spec, NULL, NULL, &child, NULL) < 0)
		return;	    /* the loader does not exist, so the program cannot run either */
	close(TAKE_FD(to)); /* the child's end must be the only one */
	take_list(w, from);
	kill(child.pid, SIGKILL); /* not reaped yet; it has ended, or its time is up */
	child_forget(&w->agent->children, &child);
}

/* Warm a program and its interpreter. */
static void warm_program(struct warm *w, const char *path)
{
	char next[PATH_MAX], loader[PATH_MAX], line[256];
	snprintf(next, sizeof(next), "%s", path);
	for (unsigned i = 0; i <= SCRIPTS_MAX; i++) {
		AUTO_CLOSE int fd = read_file(w, next);
		ssize_t n = fd < 0 ? -1 : pread(fd, line, sizeof(line) - 1, 0);
		if (n <= 0)
			return;
		line[n] = '\0';
		if (memcmp(line, "#!", 2) != 0) {
			find_loader(fd, loader);
			if (loader[0])
				warm_libraries(w, loader, next);
			return;
		}
		char *interpreter = line + 2 + strspn(line + 2, " \t");
		interpreter[strcspn(interpreter, " \t\n")] = '\0';
		snprintf(next, sizeof(next), "%s", interpreter);
	}
}

/* Find a command as exec does. */
static void find_program(const struct warm *w, const char *name, char ret[PATH_MAX])
{
	const char *dir = "";
	for (size_t i = 0; i < w->env.n; i++)
		dir = str_starts(w->env.v[i], "PATH=") ? w->env.v[i] + strlen("PATH=") : dir;
	snprintf(ret, PATH_MAX, "%s", name);
	while (!strchr(name, '/') && *dir) {
		size_t len = strcspn(dir, ":");
		snprintf(ret, PATH_MAX, "%.*s/%s", (int)len, dir, name);
		if (faccessat(w->dir_fd, ret, X_OK, 0) == 0)
			return;
		dir += len + (dir[len] == ':');
	}
}

static void warm_args(struct warm *w)
{
	const struct agent *a = w->agent;
	const char *init = a->args.n > 0 ? NULL : init_find();
	char program[PATH_MAX];
	if (init)
		snprintf(program, sizeof(program), "%s", init);
	else if (a->args.n > 0)
		find_program(w, a->args.v[0], program);
	else
		return;
	warm_program(w, program);
	for (size_t i = 1; i < a->args.n; i++)
		warm_file(w, a->args.v[i]);
}

static void warm(struct agent *a, void (*fn)(struct warm *w))
{
	AUTO_FREE struct warm *w = calloc(1, sizeof(*w));
	AUTO_CLOSE int dir_fd = dir_open_at(AT_FDCWD, a->workdir ? a->workdir : "/");
	if (!w || dir_fd < 0)
		return;
	w->agent = a;
	w->dir_fd = dir_fd;
	w->left = (size_t)sysconf(_SC_PHYS_PAGES) / 8 * (size_t)sysconf(_SC_PAGESIZE);
	/* on failure warm nothing: the start in a clone reports the fault */
	if (user_find(a->user, &w->user, NULL) == 0 &&
	    command_env(&w->user, false, &a->env, NULL, &w->env) == 0)
		fn(w);
	strv_done(&w->env);
}

void warm_workload(struct agent *a)
{
	warm(a, warm_args);
}

static void warm_shell(struct warm *w)
{
	char program[PATH_MAX];
	find_program(w, SHELL, program);
	warm_program(w, program);
}

void warm_commands(struct agent *a)
{
	warm(a, warm_shell);
}

/* Read one page of the shell from the disk. */
static void read_again(struct warm *w)
{
	char program[PATH_MAX], page[4096];
	find_program(w, SHELL, program);
	AUTO_CLOSE int fd = openat(w->dir_fd, program, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || posix_fadvise(fd, 0, sizeof(page), POSIX_FADV_DONTNEED) != 0)
		return;
	(void)!pread(fd, page, sizeof(page), 0); /* only the way there counts */
}

void warm_disk(struct agent *a)
{
	warm(a, read_again);
}
