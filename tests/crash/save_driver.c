/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a supervisor's warden does to an instance's folder when it suspends, forks or resumes its
 * VM, with a VMM that has no guest.
 *
 *   save-driver INSTANCE BASE suspend   keep the state; the VM is suspended
 *   save-driver INSTANCE BASE fork      keep it for forks, then drop it
 *   save-driver INSTANCE BASE resume    the guest's processes run once the file "ran" in BASE is
 *                                       there, and the world hears of them once "heard" is
 *   save-driver INSTANCE BASE check     is what is kept whole?
 *
 * BASE is the folder "snapshot" of the record's revision, and has "mem.bin" and "vmstate.bin".
 * LEASE in the environment is the file of the template's leases, if there is one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "instance/saved.h"
#include "supervisor/supervise.h"
#include "supervisor/warden_ask.h"
#include "supervisor/warden_parts.h"

#define NONCE "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* ---- a VMM ---- */

static int put(int fd, const char *text, off_t at, struct mvm_error *err)
{
	ssize_t n = pwrite(fd, text, strlen(text), at);
	return n == (ssize_t)strlen(text)
		       ? 0
		       : mvm_error_set(err, -errno, "cannot write: %s", strerror(errno));
}

static int64_t save_pages(const struct vmm_body *b, int to_fd, struct mvm_error *err)
{
	(void)b;
	int r = put(to_fd, "some pages\n", 0, err);
	if (r == 0)
		r = put(to_fd, "and more\n", 4096, err);
	return r < 0 ? r : 2;
}

static int load_pages(const struct vmm_body *b, int from_fd, struct mvm_error *err)
{
	(void)b;
	(void)from_fd;
	(void)err;
	return 0;
}

static int finish_state(const struct vmm_body *b, int base_fd, int raw_fd, int to_fd,
			struct mvm_error *err)
{
	(void)b;
	(void)base_fd;
	(void)raw_fd;
	return put(to_fd, "devices\n", 0, err);
}

static int open_state(int dir_fd, bool create)
{
	(void)create;
	int fd = openat(dir_fd, "vmstate.bin", O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static const struct vmm_ops ops = {
	.name = "qemu",
	.save_pages = save_pages,
	.load_pages = load_pages,
	.finish_state = finish_state,
	.open_state = open_state,
};

/* ---- the shut-in part ---- */

static int ask(struct warden *w, int what, const struct strbuf *fields, struct line_message *reply)
{
	AUTO_DONE(line_message) here = { 0 };
	struct line_message asked = { .what = what };
	if (fields)
		asked.fields = *fields;
	struct line_message *to = reply ? reply : &here;
	warden_answer(w, &asked, to);
	return to->what;
}

static int use(struct warden *w, enum warden_use how)
{
	AUTO_DONE(strbuf) fields = { 0 };
	wire_put_u64(&fields, TAG_NUMBER, how);
	return ask(w, ASK_USE_SAVED, &fields, NULL);
}

static int save_record_as(struct warden *w, enum record_state state, struct mvm_error *err)
{
	w->record.state = state;
	w->record.continues = RECORD_CONTINUES_NOTHING;
	return record_save(w->given->fd[SUPERVISOR_FD_INSTANCE], &w->record, err);
}

static int keep(struct warden *w, int what, struct line_message *reply)
{
	AUTO_DONE(strbuf) disks = { 0 };
	AUTO_DONE(strbuf) nonce = { 0 };
	wire_put_u64(&disks, TAG_NUMBER, what == ASK_SAVE_FORK);
	wire_put_str(&nonce, TAG_TEXT, NONCE);
	int r = ask(w, ASK_SAVE_BEGIN, NULL, NULL);
	if (r == 0)
		r = ask(w, ASK_SAVE_COPY, &disks, NULL);
	return r < 0 ? r : ask(w, what, &nonce, reply);
}

/* The folder decides, so a record that cannot be written does no harm. */
static int suspend_vm(struct warden *w)
{
	struct mvm_error err;
	int r = keep(w, ASK_SAVE_SUSPEND, NULL);
	if (r == 0)
		save_record_as(w, RECORD_SUSPENDED, &err);
	return r;
}

static int fork_vm(struct warden *w)
{
	AUTO_DONE(line_message) reply = { 0 };
	int r = keep(w, ASK_SAVE_FORK, &reply);
	return r < 0 ? r : ask(w, ASK_SAVE_DROP, &reply.fields, NULL);
}

/* Not by one of the calls that fail. */
static void note(int base_fd, const char *name)
{
	int fd = (int)syscall(SYS_openat, base_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0)
		close(fd);
}

static int resume_vm(struct warden *w, int base_fd, struct mvm_error *err)
{
	w->record.continues = RECORD_CONTINUES_SUSPENDED;
	int r = continue_open(w, err);
	if (r == 0)
		r = ask(w, ASK_LOAD_SAVED, NULL, NULL);
	if (r < 0)
		return r;
	note(base_fd, "ran");
	r = use(w, USE_TAKE);
	if (r < 0)
		return r;
	note(base_fd, "heard");
	use(w, USE_FORGET);
	save_record_as(w, RECORD_RUNNING, err);
	return 0;
}

static int check(const struct warden *w, struct mvm_error *err)
{
	AUTO_DONE(saved) info = { 0 };
	const bool has[OWN_DISKS] = { [OWN_DISK_DATA] = true };
	int instance_fd = w->given->fd[SUPERVISOR_FD_INSTANCE];
	AUTO_CLOSE int fd = dir_open_at(instance_fd, SAVED_DIR);
	int r = fd < 0 ? mvm_error_set(err, fd, "there is nothing") : saved_read(fd, &info, err);
	if (r == 0)
		r = saved_check(fd, &info, NONCE, err);
	return r < 0 ? r : saved_check_disks(instance_fd, &info, has, NULL, err);
}

int main(int argc, char **argv)
{
	char nonce[] = "nonce_sha256=" NONCE, *compat[] = { nonce };
	struct supervisor_given given;
	struct mvm_error err = { 0 };
	const char *lease;
	struct warden w = {
		.given = &given, .ops = &ops, .theirs = { -1, -1 }, .saved_dir_fd = -1
	};
	w.saving = (struct warden_saving)WARDEN_SAVING_NONE;
	memset(&given, 0, sizeof(given));
	for (int i = 0; i < SUPERVISOR_FD_END; i++)
		given.fd[i] = -1;
	if (argc != 4)
		return 2;
	given.fd[SUPERVISOR_FD_INSTANCE] = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	lease = getenv("LEASE");
	given.fd[SUPERVISOR_FD_LEASE] = open(lease ? lease : "/dev/null",
					     O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	w.memory_dir_fd = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	given.fd[SUPERVISOR_FD_REVISION] = openat(w.memory_dir_fd, "..",
						  O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	w.revision.snapshot.compat.v = compat;
	w.revision.snapshot.compat.n = 1;
	int r = record_load(given.fd[SUPERVISOR_FD_INSTANCE], &w.record, &err);
	if (r == 0 && strcmp(argv[3], "suspend") == 0)
		r = suspend_vm(&w);
	else if (r == 0 && strcmp(argv[3], "fork") == 0)
		r = fork_vm(&w);
	else if (r == 0 && strcmp(argv[3], "resume") == 0)
		r = resume_vm(&w, w.memory_dir_fd, &err);
	else if (r == 0)
		r = check(&w, &err);
	if (r < 0)
		fprintf(stderr, "save-driver: %s (%s)\n", err.text, strerror(-r));
	saved_done_with(&w);
	return r < 0;
}
