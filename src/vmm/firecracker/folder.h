/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_FIRECRACKER_FOLDER_H
#define VMM_FIRECRACKER_FOLDER_H

/*
 * The working folder of one Firecracker process, below the VM's own:
 *
 *	vmlinux, initrd, rootfs.ext4 ...   links to the files of the revision and to own drives
 *	mem.bin                            a link to the memory file
 *	vmstate.bin                        device state, on its way out or in
 *	api.sock, v.sock, v.sock_10240     the API; vsock; where the agent calls
 *
 * In a jail (jail.h) it holds the jail's root folder, in which files are mounted instead of linked.
 * Elsewhere the links lead through folders that Firecracker inherits open
 *("/proc/self/fd/3/vmlinux"), so that it stays with a revision that is replaced meanwhile.
 */

#include "vmm/firecracker/jail.h"
#include "vmm/vmm.h"

/* Folders as Firecracker has them open; process_spawn() numbers its list from 3. */
enum fc_fd {
	FC_FD_REVISION = 3,
	FC_FD_OWN_DIR,	  /* of the drives that are the VM's own */
	FC_FD_MEMORY_DIR, /* of the memory file */
};
#define FC_FD_COUNT 3u

#define FC_API_SOCKET	"api.sock"
#define FC_VSOCK	"v.sock"
#define FC_AGENT_SOCKET "v.sock_10240" /* FC_VSOCK "_" and AGENT_VSOCK_PORT */
#define FC_MEMORY_FILE	"mem.bin"
#define FC_LOG_FIFO	"log" /* in a jail */

struct fc_folder {
	int parent_fd;
	int base_fd; /* the folder; -1: there is none */
	int fd;	     /* where Firecracker is: the same, or the jail's root */
	char name[64];
};
#define FC_FOLDER_NONE                                                                             \
	{                                                                                          \
		.parent_fd = -1, .base_fd = -1, .fd = -1                                           \
	}

/*
 * Make it in config->work_fd, with its links.
 *
 *   jail  NULL: none; else opened, and then bound to the folder and given the files
 *   root  where the jail's root folder is
 */
int fc_folder_make(const struct vmm_config *config, struct fc_jail *jail, const char *root,
		   struct fc_folder *ret, struct mvm_error *err);

/* Remove it with all that is in it. */
void fc_folder_done(struct fc_folder *folder);
DEFINE_AUTO_DONE(fc_folder, fc_folder_done)

/*
 * Connect to the socket `name` as soon as somebody listens there; inotify(7) tells.
 *
 *   start      starts whoever will listen, once watching has begun
 *   start_arg  its argument
 *   state      of that process; VMM_ENDED ends the wait
 *
 * Returns the connected socket, what start returned, -ECANCELED (it ended), -ETIMEDOUT or -errno.
 */
int fc_folder_connect(const struct fc_folder *folder, const char *name, struct loop *loop,
		      int (*start)(void *arg, struct mvm_error *err), void *start_arg,
		      const enum vmm_state *state, int64_t deadline_ns, struct mvm_error *err);

#endif
