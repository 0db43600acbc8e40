/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/process.h"
#include "base/program.h"
#include "base/sock.h"
#include "instance/folder.h"
#include "instance/handover.h"
#include "instance/instance.h"
#include "instance/saved.h"
#include "model/name.h"

#define LAST_STEPS_MS 2000 /* of a supervisor that has written its end */

/* Parse an address of either family, with the port.  Returns its length, or 0 for no address. */
static socklen_t parse_address(const struct vmm_forward *f, struct sockaddr_storage *ret)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(f->host_port) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(f->host_port) };

	*ret = (struct sockaddr_storage){ 0 };
	if (inet_pton(AF_INET, f->host_address, &in.sin_addr) == 1) {
		memcpy(ret, &in, sizeof(in));
		return sizeof(in);
	}
	if (inet_pton(AF_INET6, f->host_address, &in6.sin6_addr) != 1)
		return 0;
	memcpy(ret, &in6, sizeof(in6));
	return sizeof(in6);
}

/* Both families have the port at the same offset. */
_Static_assert(offsetof(struct sockaddr_in, sin_port) == offsetof(struct sockaddr_in6, sin6_port),
	       "one place for the port");

static int check_port(struct vmm_forward *f, struct mvm_error *err)
{
	struct sockaddr_storage addr;
	socklen_t len = parse_address(f, &addr);
	int on = 1;

	if (len == 0)
		return mvm_error_set(err, -EINVAL, "'%s' is no IP address", f->host_address);
	AUTO_CLOSE int fd = socket(addr.ss_family,
				   (f->udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return mvm_error_set(err, -errno, "cannot make a socket: %s", strerror(errno));
	if (addr.ss_family == AF_INET6) /* if an option cannot be set, bind() reports the effect */
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (!f->udp)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)); /* as VMMs do */
	if (bind(fd, (const struct sockaddr *)&addr, len) < 0) {
		int r = mvm_error_set(err, -errno, "cannot forward port %u of %s: %s", f->host_port,
				      f->host_address, strerror(errno));
		if (r == -EADDRNOTAVAIL)
			return mvm_error_hint(err, r,
					      "it is no address of this host, see 'ip address'; "
					      "leave it out for 127.0.0.1, or use 0.0.0.0 for all");
		return r == -EADDRINUSE ? mvm_error_reason(err, r, "port-taken", NULL) : r;
	}
	if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
		return mvm_error_set(err, -errno, "getsockname: %s", strerror(errno));
	f->host_port = ntohs(((const struct sockaddr_in *)&addr)->sin_port);
	return 0;
}

/* Do both forwards want one port?  Port 0 never collides. */
static bool collide(const struct vmm_forward *a, const struct vmm_forward *b)
{
	bool v6 = strchr(a->host_address, ':');
	const char *any = v6 ? "::" : "0.0.0.0";
	if (v6 != (strchr(b->host_address, ':') != NULL))
		return false; /* IPv6 sockets are for IPv6 alone */
	return a->udp == b->udp && a->host_port != 0 && a->host_port == b->host_port &&
	       (str_eq(a->host_address, b->host_address) || str_eq(a->host_address, any) ||
		str_eq(b->host_address, any));
}

int instance_check_ports(struct record *record, struct mvm_error *err)
{
	struct vmm_forward *f = record->forwards;
	int r = 0;
	for (size_t i = 0; i < record->n_forwards; i++) {
		for (size_t k = 0; k < i; k++) {
			if (collide(&f[i], &f[k]))
				return mvm_error_set(err, -EADDRINUSE,
						     "port %u of %s is forwarded twice",
						     f[i].host_port, f[i].host_address);
		}
	}
	for (size_t i = 0; i < record->n_forwards && r == 0; i++)
		r = check_port(&f[i], err);
	return r;
}

int instance_make_name(struct record *rec, struct mvm_error *err)
{
	uint8_t random[3];
	char hex[2 * sizeof(random) + 1];
	random_bytes(random, sizeof(random));
	str_hex(random, sizeof(random), hex);
	rec->name = str_printf("%.56s-%s", rec->template_id, hex);
	return rec->name ? 0 : mvm_error_oom(err);
}

/* Make the folder.  Without a name, try "<template>-<random>" until one is free. */
static int make_folder(int instances_fd, struct record *rec, struct instance_folder *ret,
		       struct mvm_error *err)
{
	bool named = rec->name != NULL;
	int r = named ? name_check(NAME_INSTANCE, rec->name, err) : 0;
	if (r < 0)
		return r;
	for (int attempt = 0; attempt < 100; attempt++) {
		r = named ? 0 : instance_make_name(rec, err);
		if (r < 0)
			return r;
		r = instance_folder_make(instances_fd, rec, ret);
		if (r == 0)
			return 0;
		if (r != -EEXIST)
			return mvm_error_set(err, r, "cannot create instance '%s': %s", rec->name,
					     strerror(-r));
		if (named)
			return mvm_error_reason(err,
						mvm_error_set(err, -EEXIST,
							      "there is an instance '%s' already",
							      rec->name),
						"instance-exists", rec->name);
		free(TAKE_PTR(rec->name));
	}
	return mvm_error_set(err, -EEXIST, "cannot find a free name for an instance");
}

/* Take the folder of an instance that has ended. */
static int take_folder(int instances_fd, const struct record *rec, struct instance_folder *ret,
		       struct mvm_error *err)
{
	AUTO_CLOSE int dir_fd = dir_open_at(instances_fd, rec->name);
	int r = dir_fd < 0 ? dir_fd : instance_folder_take(instances_fd, dir_fd, rec, ret);
	/* its supervisor has written the end, and is at its last steps */
	if (r == -EBUSY && instance_folder_await(dir_fd, rec->name, -1,
						 clock_deadline_ns(LAST_STEPS_MS), NULL, NULL) == 0)
		r = instance_folder_take(instances_fd, dir_fd, rec, ret);
	if (r == -EBUSY)
		return mvm_error_reason(
			err, mvm_error_set(err, r, "instance '%s' is running", rec->name),
			"instance-runs", rec->name);
	if (r == -ENOENT)
		return mvm_error_reason(
			err,
			mvm_error_set(err, r, "instance '%s' was removed or renamed meanwhile",
				      rec->name),
			"no-instance", rec->name);
	return r < 0 ? mvm_error_set(err, r, "cannot start instance '%s' again: %s", rec->name,
				     strerror(-r))
		     : 0;
}

/* Without a supervisor nothing has started: remove the new folder, or put the ended instance's
 * record back.  The start's error is the one to report. */
static void put_back(int instances_fd, const struct instance_launch *l,
		     const struct instance_folder *f)
{
	if (!l->again) {
		instance_folder_remove(instances_fd, l->record->name, f->dir_fd, false);
		return;
	}
	unlinkat(f->dir_fd, INSTANCE_SOCKET_NAME, 0);
	record_save(f->dir_fd, l->again, NULL);
}

static int spawn_supervisor(const struct instance_launch *l, const struct instance_folder *f,
			    int leash_fd, struct mvm_error *err)
{
	AUTO_FREE char *program = NULL;
	AUTO_CLOSE int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	int r = program_helper_path(SUPERVISOR_PROGRAM, &program);
	if (r < 0)
		return mvm_error_hint(err,
				      mvm_error_set(err, r, "cannot find %s", SUPERVISOR_PROGRAM),
				      "reinstall mvm, or set MVM_LIBEXEC_DIR to its folder");
	if (null_fd < 0)
		return mvm_error_set(err, -errno, "cannot open /dev/null: %s", strerror(errno));

	AUTO_CLOSE int log_fd = openat(f->dir_fd, "supervisor.log",
				       O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	char *argv[] = { program, l->record->name, NULL };
	const int fds[SUPERVISOR_FD_END - SUPERVISOR_FD_FIRST] = {
		leash_fd,
		f->dir_fd,
		f->lock_fd,
		l->revision_fd,
		l->lease_fd >= 0 ? l->lease_fd : null_fd,
		l->cache_fd,
		l->capture_fd >= 0 ? l->capture_fd : null_fd,
		l->logs_fd >= 0 ? l->logs_fd : null_fd,
		f->listen_fd,
		l->source_fd >= 0 ? l->source_fd : null_fd,
	};
	struct process_spec spec = {
		.argv = argv,
		.cwd_fd = f->dir_fd,
		.stdin_fd = -1,
		.stdout_fd = -1,
		.stderr_fd = log_fd,
		.fds = fds,
		.n_fds = MVM_ARRAY_SIZE(fds),
		.flags = PROCESS_DETACH,
	};
	struct process detached; /* stays empty */
	r = process_spawn(&spec, &detached);
	return r < 0 ? mvm_error_set(err, r, "cannot start %s: %s", program, strerror(-r)) : 0;
}

/* Copy the disks, and record how. */
static int copy_disks(const struct instance_launch *l, const struct instance_folder *f,
		      struct mvm_error *err)
{
	bool reflinked = false;
	for (int i = 0; i < OWN_DISKS; i++) {
		if (l->disk_fds[i] < 0)
			continue;
		int r = own_disk_copy((enum own_disk)i, l->disk_fds[i], f->dir_fd, err);
		if (r < 0)
			return r;
		l->record->disks[i].reflinked = r;
		reflinked |= r;
	}
	return reflinked ? record_save(f->dir_fd, l->record, err) : 0;
}

/* Are the disks of a suspended VM as it left them?  Its supervisor checks the rest. */
static int check_disks(const struct instance_launch *l, const struct instance_folder *f,
		       struct mvm_error *err)
{
	AUTO_DONE(saved) info = { 0 };
	bool has[OWN_DISKS];
	if (l->record->continues != RECORD_CONTINUES_SUSPENDED)
		return 0;
	AUTO_CLOSE int fd = dir_open_at(f->dir_fd, SAVED_DIR);
	if (fd < 0 || saved_read(fd, &info, NULL) < 0)
		return 0; /* the supervisor says so */
	for (int i = 0; i < OWN_DISKS; i++)
		has[i] = l->record->disks[i].present;
	return saved_check_disks(f->dir_fd, &info, has, l->progress, err);
}

static int launch_in(const struct instance_launch *l, const struct instance_folder *f,
		     struct mvm_instance *i, struct mvm_error *err)
{
	int r = check_disks(l, f, err);
	if (r == 0)
		r = copy_disks(l, f, err);
	if (r < 0)
		return r;
	int leash[2];
	r = sock_pair(leash);
	if (r < 0)
		return mvm_error_set(err, r, "cannot make a socket pair: %s", strerror(-r));
	AUTO_CLOSE int theirs = leash[1];
	r = control_init(&i->control, leash[0]);
	if (r < 0)
		return mvm_error_set(err, r, "cannot make a socket pair: %s", strerror(-r));
	i->control.name = i->name;
	/* we close the supervisor's ends of sockets and lock right after this, so that we notice
	 * its death */
	return spawn_supervisor(l, f, theirs, err);
}

int instance_launch_begin(int instances_fd, const struct instance_launch *l,
			  struct mvm_instance **ret, struct mvm_error *err)
{
	AUTO_DONE(instance_folder) folder = INSTANCE_FOLDER_NONE;
	AUTO(mvm_instance) i = calloc(1, sizeof(*i));
	int r = i ? instance_check_ports(l->record, err) : mvm_error_oom(err);
	if (r == 0 && l->again)
		r = take_folder(instances_fd, l->record, &folder, err);
	else if (r == 0)
		r = make_folder(instances_fd, l->record, &folder, err);
	if (r < 0)
		return r;
	i->name = strdup(l->record->name);
	r = i->name ? launch_in(l, &folder, i, err) : mvm_error_oom(err);
	if (r < 0) {
		put_back(instances_fd, l, &folder);
		return r;
	}
	*ret = TAKE_PTR(i);
	return 0;
}

/* A supervisor that gave up has recorded that, or removed the instance.  For one that was killed,
 * do it here, before the user learns of the failure. */
static void settle_failed(int instances_fd, const char *name, int logs_fd)
{
	AUTO_CLOSE int dir_fd = dir_open_at(instances_fd, name);
	int64_t deadline_ns = clock_deadline_ns(INSTANCE_FOLDER_END_MS);
	if (dir_fd >= 0 && instance_folder_await(dir_fd, name, -1, deadline_ns, NULL, NULL) == 0)
		instance_settle_start(instances_fd, name, logs_fd); /* `ps` tries again */
}

int instance_launch_wait(int instances_fd, struct mvm_instance *i, int logs_fd,
			 struct mvm_error *err)
{
	AUTO_DONE(strbuf) reply = { 0 };
	/* no deadline here: the supervisor has one for every step, and we notice its end */
	int r = control_wait_reply(&i->control, LEASH_START_STREAM, NULL, DEADLINE_NONE, &reply,
				   err);
	if (r == -ECANCELED)
		return r; /* it is still starting, or its supervisor has ended it */
	if (r == 0) {
		instance_keep_start(i, &reply);
		control_watch(&i->control, CONTROL_QUIET_MS, CONTROL_ANSWER_MS);
	} else {
		settle_failed(instances_fd, i->name, logs_fd);
	}
	return r;
}
