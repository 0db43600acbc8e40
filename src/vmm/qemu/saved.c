/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeping a clone that runs.  `migrate` would write all of a private mapping's memory into its
 * stream, so the clone's own pages are copied from outside (vmm/pages.h), and the devices are saved
 * by `xen-save-devices-state`, which every build has, whatever its name says.
 *
 * QEMU cannot load what that command writes.  It loads an ordinary migration stream, which
 * qemu_finish_state() makes: the snapshot's own up to its first full section, whose sections before
 * that are about memory, then the saved ones.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "vmm/memory.h"
#include "vmm/qemu/qemu.h"

#define SET 1 /* the number under which QEMU gets the file */

/* A full section: its kind, number (4 bytes), the name's length, the name, its instance (4 bytes).
 * Source: QEMU 7.2, migration/savevm.c and migration/savevm.h. */
#define HEADER_BYTES  8u /* magic and version */
#define SECTION_FULL  0x04
#define SECTION_FIXED 6u
#define STATE_MAX     ((size_t)64 << 20)

/* Save by two commands at once, because the guest stands still meanwhile.  QEMU gives the file back
 * whether the first could be sent or not: it would write the next state into this one's file. */
static int send_save(struct qemu *q, struct qemu_batch *b, struct mvm_error *err)
{
	char path[32];
	snprintf(path, sizeof(path), "/dev/fdset/%d", SET);
	int r = qemu_batch_send(q, b, "xen-save-devices-state",
				json_pack("{s:s}", "filename", path), -1, err);
	int removed = qemu_batch_send(q, b, "remove-fd", json_pack("{s:i}", "fdset-id", SET), -1,
				      r == 0 ? err : NULL);
	return r < 0 ? r : removed;
}

int qemu_save_devices(struct vmm *v, int fd, int64_t deadline_ns, struct mvm_error *err)
{
	struct qemu *q = (struct qemu *)v;
	struct qemu_batch b = { .n = 0 };
	int r = qemu_batch_send(q, &b, "add-fd", json_pack("{s:i}", "fdset-id", SET), fd, err);
	if (r == 0) {
		r = send_save(q, &b, err);
		int done = qemu_batch_wait(q, &b, deadline_ns, r == 0 ? err : NULL);
		r = r < 0 ? r : done;
	}
	return qemu_explain(q, r, deadline_ns, err);
}

int64_t qemu_save_pages(const struct vmm_body *b, int to_fd, struct mvm_error *err)
{
	const struct qemu_body *q = (const struct qemu_body *)b;
	if (!q)
		return mvm_error_set(err, -ESRCH, "there is no QEMU");
	return vmm_memory_save(b->process.pid, q->memory.file_fd, to_fd, err);
}

int qemu_load_pages(const struct vmm_body *b, int from_fd, struct mvm_error *err)
{
	const struct qemu_body *q = (const struct qemu_body *)b;
	if (!q)
		return mvm_error_set(err, -ESRCH, "there is no QEMU");
	return vmm_memory_load(b->process.pid, q->memory.file_fd, from_fd, err);
}

/* Length of the part of the snapshot's stream before the section with which the saved ones begin.
 * The same machine always gives the section the same number and name.  0: no such section. */
static size_t find_sections(const char *base, size_t base_len, const char *raw, size_t raw_len)
{
	if (raw_len < HEADER_BYTES + SECTION_FIXED || raw[HEADER_BYTES] != SECTION_FULL)
		return 0;
	const char *head = raw + HEADER_BYTES;
	size_t head_len = SECTION_FIXED + (uint8_t)head[SECTION_FIXED - 1] + 4;
	if (raw_len - HEADER_BYTES < head_len)
		return 0;
	const char *at = memmem(base, base_len, head, head_len);
	return at ? (size_t)(at - base) : 0;
}

int qemu_finish_state(const struct vmm_body *b, int base_fd, int raw_fd, int to_fd,
		      struct mvm_error *err)
{
	(void)b;
	/* an empty description of the machine */
	static const char end[] = { 0x06, 0, 0, 0, 0 };
	AUTO_FREE char *base = NULL, *raw = NULL;
	size_t base_len = 0, raw_len = 0;
	if (lseek(raw_fd, 0, SEEK_SET) < 0 || lseek(base_fd, 0, SEEK_SET) < 0)
		return mvm_error_set(err, -errno, "cannot read the device state: %s",
				     strerror(errno));
	int r = file_read_fd(base_fd, STATE_MAX, &base, &base_len);
	if (r == 0)
		r = file_read_fd(raw_fd, STATE_MAX, &raw, &raw_len);
	if (r < 0)
		return mvm_error_set(err, r, "cannot read the device state: %s", strerror(-r));
	size_t begin = find_sections(base, base_len, raw, raw_len);
	if (!begin)
		return mvm_error_set(err, -EOPNOTSUPP,
				     "this QEMU's device state has another shape than the "
				     "snapshot's");
	r = file_write_all(to_fd, base, begin);
	if (r == 0)
		r = file_write_all(to_fd, raw + HEADER_BYTES, raw_len - HEADER_BYTES);
	if (r == 0)
		r = file_write_all(to_fd, end, sizeof(end));
	return r < 0 ? mvm_error_set(err, r, "cannot write the device state: %s", strerror(-r)) : 0;
}
