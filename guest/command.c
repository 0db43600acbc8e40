/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "cgroup.h"

#define CGROUP_PREFIX "exec-"
#define DEFAULT_PATH  "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static void set_env(struct strv *env, const char *assignment)
{
	size_t name_len = strcspn(assignment, "=") + 1;
	for (size_t i = 0; i < env->n; i++) {
		if (strncmp(env->v[i], assignment, name_len) != 0)
			continue;
		char *copy = strdup(assignment);
		if (!copy) {
			env->failed = true;
			return;
		}
		free(env->v[i]);
		env->v[i] = copy;
		return;
	}
	strv_add(env, assignment);
}

int command_env(const struct user *user, bool tty, const struct strv *base, const struct strv *more,
		struct strv *ret)
{
	const struct strv *lists[] = { base, more };

	char hostname[HOST_NAME_MAX + 1] = "";
	strv_add(ret, "PATH=" DEFAULT_PATH);
	if (gethostname(hostname, sizeof(hostname) - 1) == 0 && hostname[0])
		strv_addf(ret, "HOSTNAME=%s", hostname);
	strv_addf(ret, "HOME=%s", user->home);
	if (user->name[0])
		strv_addf(ret, "USER=%s", user->name);
	if (tty)
		strv_add(ret, "TERM=xterm");
	for (size_t l = 0; l < MVM_ARRAY_SIZE(lists); l++) {
		for (size_t i = 0; lists[l] && i < lists[l]->n; i++)
			set_env(ret, lists[l]->v[i]);
	}
	return ret->failed ? -ENOMEM : 0;
}

static void name_group(uint64_t number, char ret[COMMAND_CGROUP_SIZE])
{
	snprintf(ret, COMMAND_CGROUP_SIZE, CGROUP_PREFIX "%" PRIu64, number);
}

static int take_spare(struct agent *a, char cgroup[COMMAND_CGROUP_SIZE])
{
	name_group(a->spare_group, cgroup);
	a->spare_group = 0;
	return a->spare_group_fd;
}

static int make_group(struct agent *a, char cgroup[COMMAND_CGROUP_SIZE], struct mvm_error *err)
{
	if (a->cgroup_fd < 0)
		return -1; /* a test: no cgroup to start the command in */
	if (!cgroup[0] && a->spare_group)
		return take_spare(a, cgroup);
	if (!cgroup[0])
		name_group(++a->exec_serial, cgroup);
	int fd = cgroup_make(a->cgroup_fd, cgroup);
	return fd < 0 ? mvm_error_set(err, fd, "cannot make the cgroup '%s': %s", cgroup,
				      strerror(-fd))
		      : fd;
}

int command_start(struct agent *a, const struct command *cmd, char cgroup[COMMAND_CGROUP_SIZE],
		  child_exit_fn fn, void *arg, struct child *ret, struct mvm_error *err)
{
	struct user user;
	int r = user_find(cmd->user, &user, err);
	if (r < 0)
		return r;
	AUTO_DONE(strv) env = { 0 };
	if (command_env(&user, cmd->tty, &a->env, cmd->env, &env) < 0)
		return mvm_error_oom(err);

	AUTO_CLOSE int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null_fd < 0)
		/* EIO, since ENOENT would mean that the program is missing */
		return mvm_error_set(err, -EIO, "the guest cannot open its '/dev/null': %s",
				     strerror(errno));
	AUTO_CLOSE int group = make_group(a, cgroup, err);
	if (group < 0 && a->cgroup_fd >= 0)
		return group;

	struct spawn_spec spec = {
		.argv = cmd->args->v,
		.main = cmd->main,
		.main_arg = cmd->main_arg,
		.env = env.v,
		.workdir = cmd->workdir,
		.user = &user,
		.tty = cmd->tty,
		.cgroup = group,
	};
	for (int i = 0; i < 3; i++)
		spec.fds[i] = cmd->fds[i] < 0 ? null_fd : cmd->fds[i];
	r = child_spawn(&a->children, &spec, fn, arg, ret, err);
	if (r < 0)
		command_sweep(a);
	return r;
}

void command_kill(struct agent *a, const char *cgroup, const struct child *child)
{
	if (a->cgroup_fd >= 0 && cgroup[0])
		cgroup_kill(a->cgroup_fd, cgroup); /* fails only if the group has ended */
	else if (child->pid > 0)
		kill(-child->pid, SIGKILL); /* not reaped yet, so no other process has the id */
}

void command_sweep(struct agent *a)
{
	char name[COMMAND_CGROUP_SIZE] = "";
	if (a->cgroup_fd < 0)
		return;
	if (a->spare_group)
		name_group(a->spare_group, name);
	cgroup_sweep(a->cgroup_fd, CGROUP_PREFIX, name);
	if (a->spare_group)
		return;
	name_group(++a->exec_serial, name);
	a->spare_group_fd = cgroup_make(a->cgroup_fd, name);
	if (a->spare_group_fd >= 0)
		a->spare_group = a->exec_serial; /* else the next command reports the fault */
}

void command_drop_spare(struct agent *a)
{
	char name[COMMAND_CGROUP_SIZE];
	if (!a->spare_group)
		return;
	close(a->spare_group_fd);
	name_group(a->spare_group, name);
	unlinkat(a->cgroup_fd, name, AT_REMOVEDIR); /* nobody else uses it */
	a->exec_serial--;			    /* the spare's is the last number */
	a->spare_group = 0;
}
