/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_FIRECRACKER_FOLDER_H
#define VMM_FIRECRACKER_FOLDER_H

/*
 * The working folder of one Firecracker process, below the VM's own:
 *
 *	vmlinux, initrd, rootfs.ext4 ...   links to the files of the revision and to own drives
 *	mem.bin                            a link to the memory file
 *	vmstate.bin                        device state, while it is saved or loaded
 *	api.sock, v.sock, v.sock_10240     the API; vsock; the agent's calls
 *
 * With a jail (jail.h) the folder holds the jail's root folder, where files are mounted instead of
 * linked.  Without a jail the links lead through open folders that Firecracker inherits, as in
 * "/proc/self/fd/3/vmlinux".  So Firecracker keeps its revision's files when the revision is
 * replaced.
 */

#include "vmm/firecracker/jail.h"
#include "vmm/vmm.h"

/* Folders as Firecracker has them open; process_spawn() numbers its list from 3. */
enum fc_fd {
	FC_FD_REVISION = 3,
	FC_FD_OWN_DIR,	  /* folder of the VM's own disks */
	FC_FD_MEMORY_DIR, /* folder of the memory file */
};
#define FC_FD_COUNT 3u

#define FC_API_SOCKET	"api.sock"
#define FC_VSOCK	"v.sock"
#define FC_AGENT_SOCKET "v.sock_10240" /* FC_VSOCK "_" and AGENT_VSOCK_PORT */
#define FC_MEMORY_FILE	"mem.bin"
#define FC_LOG_FIFO	"log" /* in a jail */

struct fc_folder {
	int parent_fd;
	int base_fd; /* the working folder; -1: none */
	int fd;	     /* Firecracker's root: the working folder, or the jail's root folder */
	char name[64];
};
#define FC_FOLDER_NONE                                                                             \
	{                                                                                          \
		.parent_fd = -1, .base_fd = -1, .fd = -1                                           \
	}

/*
 * Make the working folder in config->work_fd, with its links.
 *
 *   jail  an open jail, which is bound to the folder and gets the files; NULL: no jail
 *   root  path of the jail's root folder
 */
int fc_folder_make(const struct vmm_config *config, struct fc_jail *jail, const char *root,
		   struct fc_folder *ret, struct mvm_error *err);

/* Remove the working folder and everything in it. */
void fc_folder_done(struct fc_folder *folder);
DEFINE_AUTO_DONE(fc_folder, fc_folder_done)

/* An inotify(7) descriptor that tells of new files in the folder, such as sockets; or -errno. */
int fc_folder_watch(const struct fc_folder *folder);

#endif
