/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_SAVED_H
#define INSTANCE_SAVED_H

/*
 * The state of a VM that was suspended or is forked, as a folder below its instance's:
 *
 *	vmstate.bin  device state, as the VMM loads it
 *	pages.bin    the pages that differ from the snapshot's memory (vmm/pages.h)
 *	*.ext4	     of a fork: the VM's own disks, which go with the memory
 *	saved.json   sizes and digests of the first two, and which guest they are; of a suspended VM
 *		     digests and identities of its disks, which stay in the instance's folder
 *
 *	resuming     a link to the id of the host's boot in which a resume has begun, of a VM that
 *		     has disks
 *
 * A folder that is being written is called "saving." and 16 hex digits.  Once it is whole and, for
 * a suspended VM, on disk, it is renamed to "saved" or, for forks, to "fork." and 16 hex digits,
 * whence the command that starts them takes it into its staging.
 * So "saved" is the mark of a suspended VM, whatever its record says: a supervisor that is killed
 * in between leaves a VM that is suspended or one that is lost, never half of one.
 *
 * No state has effects twice, and none is lost before its guest runs.  A resume renames it back to
 * "saving." once the guest's processes run.  What they send is held until that rename is on disk,
 * so until then they have reached nothing but the VM's own disks.  A supervisor that is killed
 * before, or a host that crashes, leaves a suspended VM.  A guest that has written to a disk by
 * then has changed its digest, so that state is refused.  After a crash of the host, times do not
 * tell whether a disk has changed.  The link says that a guest may have run: disks are read then.
 *
 * Nothing here is trusted: files that do not have the recorded sizes and digests are -EBADMSG.
 */

#include <mvm/digest.h>
#include <mvm/progress.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/own.h"
#include "codec/sha256.h"
#include "instance/own_disk.h"

#define SAVED_DIR    "saved"
#define SAVED_SAVING "saving."
#define SAVED_FORK   "fork."

#define SAVED_INFO    "saved.json"
#define SAVED_STATE   "vmstate.bin"
#define SAVED_PAGES   "pages.bin"
#define SAVED_DEVICES "devices.bin" /* what vmstate.bin is made of, for a moment */
#define SAVED_BEGUN   "resuming"

/* A disk of a suspended VM. */
struct saved_disk {
	bool present;
	char *sha256;	/* sha256_sparse_fd() */
	char *identity; /* file_identity(): while it is this one, nobody has written to the disk */
};

struct saved {
	uint32_t schema_version;
	char *base_nonce_sha256; /* of the snapshot whose memory the pages differ from */
	char *nonce_sha256;	 /* of what only the frozen guest's agent knows */
	char *machine_id;	 /* of the guest */
	char *state_sha256, *pages_sha256;
	uint64_t state_bytes, pages_bytes, n_pages;
	struct saved_disk disks[OWN_DISKS];
	char *saved_at; /* RFC 3339 */
};
void saved_done(struct saved *s);
DEFINE_AUTO_DONE(saved, saved_done)

/* Write saved.json.  Returns 0 or -errno with a sentence. */
int saved_write(int dir_fd, const struct saved *s, struct mvm_error *err);

/* Read saved.json.  -EBADMSG when it is missing or damaged. */
int saved_read(int dir_fd, struct saved *ret, struct mvm_error *err);
int saved_parse(const char *text, size_t len, struct saved *ret, struct mvm_error *err);

/* Sync every file of the folder. */
int saved_sync(int dir_fd);

/*
 * Check the files against saved.json.  Reads them whole, at about 1.5 GB/s.
 *
 *   base_nonce_sha256  of the snapshot that is there now
 *
 * Returns 0; -EBADMSG; -ESTALE when the snapshot is another.
 */
int saved_check(int dir_fd, const struct saved *s, const char *base_nonce_sha256,
		struct mvm_error *err);

/*
 * Sync and digest the disks in an instance's folder.  Nobody writes to them any more, nor changes
 * their owner.  Reads their data whole, about 32 MiB at each call.  Returns 0 when s has them, 1
 * when there is more, or -errno.  saved_noting_done() may come at any time.
 */
struct saved_noting {
	unsigned disk; /* enum own_disk */
	int fd;	       /* of that disk; -1: it was not begun */
	struct sha256_sparse digest;
};
#define SAVED_NOTING_NONE                                                                          \
	{                                                                                          \
		.fd = -1                                                                           \
	}
void saved_noting_done(struct saved_noting *n);
int saved_note_disks(int instance_fd, struct saved_noting *n, struct saved *s,
		     struct mvm_error *err);

/*
 * Check the disks that a suspended VM goes on with.  Reads one only if its identity has changed, or
 * if a resume has begun before the host went down.
 *
 *   has       which disks the instance has, by enum own_disk
 *   progress  a step for each that is read; may be NULL
 *
 * Returns 0; -EBADMSG; -ECANCELED; or -errno.
 */
int saved_check_disks(int instance_fd, const struct saved *s, const bool has[OWN_DISKS],
		      const struct mvm_progress *progress, struct mvm_error *err);

/* Note on disk that a resume has begun, if the VM has disks.  dir_fd: of the state's folder.
 * Returns 0 or -errno. */
int saved_begin(int dir_fd, const struct saved *s);

/* Does an instance's folder have the state of a suspended VM? */
bool saved_is_there(int instance_fd);

/* Forget it, and what interrupted suspends, forks and resumes have left.  Nobody else may work on
 * the instance.  Best effort. */
void saved_forget(int instance_fd);
void saved_sweep(int instance_fd);

/* Is this one of these folders, and has it only files of ours?  For shape.c. */
bool saved_is_own(int instance_fd, const char *name);

#endif
