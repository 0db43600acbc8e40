/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_QEMU_QEMU_H
#define VMM_QEMU_QEMU_H

/*
 * The QEMU backend: `qemu-system-x86_64 -M microvm`, with KVM or TCG.
 *
 * args.c makes QEMU's arguments, probe.c finds its version, body.c starts and ends its process,
 * process.c talks to it, user.c chooses its user and namespaces, walls.c limits what it may do,
 * files.c passes its files, migrate.c saves and loads its device state, saved.c that of a clone
 * that runs.  QEMU inherits connected sockets for its control protocol, the agent's port and the
 * console, so no socket has a path and nothing polls for one.
 */

#include "net/qmp.h"
#include "vmm/box.h"
#include "vmm/lend.h"
#include "vmm/net_helper.h"
#include "vmm/uid.h"
#include "vmm/vmm.h"
#include "vmm/words.h"

extern const struct vmm_ops vmm_qemu;

#define QEMU_BINARY	"qemu-system-x86_64"
#define QEMU_BINARY_ENV "MVM_QEMU"

/* Descriptors as QEMU has them; process_spawn() numbers its list from 3. */
enum qemu_fd {
	QEMU_FD_QMP = 3,
	QEMU_FD_AGENT,
	QEMU_FD_CONSOLE,
	QEMU_FD_NET, /* unless it has no network */
	/* files; some VMs lack some */
	QEMU_FD_MEMORY,
	QEMU_FD_KERNEL,
	QEMU_FD_INITRD,
	QEMU_FD_DRIVES, /* and the following */
	/* the state that it restores: not opened again, but open for reading */
	QEMU_FD_STATE = QEMU_FD_DRIVES + MVM_ARRAY_SIZE(((struct vmm_config *)NULL)->drives),
	QEMU_FD_END,
};

#define QEMU_FD_PATH "/proc/self/fd/%d"

#define QEMU_NETDEV "net0"

/* TCG runs a string instruction step by step.  With ERMS the guest's kernel copies single bytes;
 * without ERMS it copies eight at a time. */
#define QEMU_CPU_TCG "max,-erms,-fsrm"

/* args.c.  Pure: the same probe and config give the same text. */
int qemu_args(const struct vmm_probe *probe, const struct vmm_config *config, struct strv *ret,
	      struct mvm_error *err);
int qemu_cmdline(const struct vmm_probe *probe, const struct vmm_config *config,
		 const char *additions, char **ret, struct mvm_error *err);

/* facts.c.  With KVM, also reads the host's CPU. */
int qemu_facts(const struct vmm_probe *probe, const struct vmm_config *config, struct strv *ret,
	       struct mvm_error *err);
/* qemu_facts() without reading the host's CPU; cpu is its fingerprint, unused with TCG. */
int qemu_facts_for(const struct vmm_probe *probe, const struct vmm_config *config, const char *cpu,
		   struct strv *ret, struct mvm_error *err);

/* For facts: the machine type, and the devices that the guest sees, without names of the host. */
const char *qemu_machine(enum vmm_accel accel);
int qemu_device_layout(const struct vmm_config *config, char **ret, struct mvm_error *err);

/* files.c: the files that QEMU opens, by their enum qemu_fd; -1: no such file. */
struct qemu_files {
	int fds[QEMU_FD_END];	 /* without the channels */
	bool given[QEMU_FD_END]; /* the file belongs to QEMU's user for now */
};
void qemu_files_init(struct qemu_files *f);
/* Open the files of a config, and give the user the ones that QEMU will write.  *f is initialised;
 * qemu_files_done() it, also after a failure.  A missing file is an error. */
int qemu_files_open(struct qemu_files *f, const struct vmm_config *config,
		    const struct own_uid *user, struct mvm_error *err);
/* Give the files that QEMU has written back to root. */
void qemu_files_take_back(struct qemu_files *f);
void qemu_files_done(struct qemu_files *f);

/* user.c: the user, the rights and the limits that the child takes before it executes QEMU. */
struct qemu_child {
	struct own_uid user; /* none: it runs as the supervisor's user */
	gid_t group;	     /* the group that may use /dev/kvm; 0: not needed */
	unsigned isolation;  /* enum vmm_isolation: first wanted, then what the child has */
	bool kvm, captures;
	uint32_t writes; /* 1 << i: the drives that it writes, by index */
	unsigned vcpus;
	const char *binary;	   /* borrowed */
	uint64_t file_max_bytes;   /* length limit of every file that it writes */
	const struct lend *memory; /* memory file that is lent; NULL: none */
	int lend_fd;		   /* in the child: the report_fd of lend_in_child() */
	bool opens_memory;	   /* in the child: it was not lent */
	struct box box;
};
int qemu_child_init(struct qemu_child *child, const struct vmm_probe *probe,
		    const struct vmm_config *config, struct mvm_error *err);
void qemu_child_done(struct qemu_child *child);
/* process_spawn() as that user; in namespaces if child->isolation has them and the host allows it.
 * Afterwards child->isolation tells whether the child has them. */
int qemu_child_spawn(struct qemu_child *child, const struct process_spec *spec,
		     struct process *ret);
unsigned qemu_confines(const struct vmm_probe *probe, int dir_fd, const char **ret_obstacle);

/* walls.c: for process_spec.before_exec.  Limits the files that QEMU may open, the resources that
 * it may use and the system calls that it may make. */
int qemu_walls_enter(void *child);

/* probe.c */
int qemu_probe(const struct mvm_progress *progress, struct vmm_probe *ret, struct mvm_error *err);
/* Find "7.2.22 (Debian ...)" in the output of --version: *ret_len bytes of text.  NULL: it is not
 * QEMU's output.  Pure. */
const char *qemu_version_of(const char *text, size_t *ret_len);

enum qemu_migration { MIGRATION_NONE, MIGRATION_COMPLETED, MIGRATION_FAILED };

/* QEMU's process and all that was made for it. */
struct qemu_body {
	struct vmm_body body; /* first */
	struct qemu_child child;
	struct qemu_files files;
	struct lend memory; /* a clone's memory file, which it may only read */
	struct net_process net;
};

/* body.c */
int qemu_start(const struct vmm_probe *probe, const struct vmm_config *c, struct loop *loop,
	       struct vmm_body **ret, struct vmm_ends *ret_ends, struct mvm_error *err);
int qemu_seal(struct vmm_body *b, struct mvm_error *err);
void qemu_take_back(struct vmm_body *b);
int qemu_start_network(struct vmm_body *b, const struct vmm_config *c, int *ret_control_fd,
		       struct mvm_error *err);
int qemu_seal_network(struct vmm_body *b, struct mvm_error *err);
pid_t qemu_network_pid(const struct vmm_body *b);
void qemu_end(struct vmm_body *b);

/* The talk with QEMU. */
/* Several commands under way at once, to save the round trips between them. */
struct qemu_batch {
	int64_t ids[4];
	size_t n;
};

struct qemu {
	struct vmm vmm; /* first */
	struct loop *loop;
	struct qmp *qmp;
	struct loop_source *exit_source;
	struct words words; /* QEMU's standard error and output */
	enum qemu_migration migration;
	struct net_helper net;
	struct qemu_batch early; /* of the load */
	struct vmm_keeper keeper;
};

/*
 * Explain why a wait failed; err has the code and text so far.  When QEMU has ended or is ending,
 * wait for its end (until the deadline, at most ten seconds) and describe its status and standard
 * error.  Returns the code to return.
 */
int qemu_explain(struct qemu *q, int r, int64_t deadline_ns, struct mvm_error *err);

/* migrate.c */
int qemu_open_state(int dir_fd, bool create);
int qemu_snapshot(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err);
/* Queue what a load says first, before QEMU answers: it reads a command byte by byte. */
int qemu_prepare_load(struct qemu *q, struct mvm_error *err);
int qemu_restore(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err);

/* migrate.c: queue a command, as qmp_send() does; wait for all the replies, and report the first
 * failure. */
int qemu_batch_send(struct qemu *q, struct qemu_batch *b, const char *command, json_t *args,
		    int pass_fd, struct mvm_error *err);
int qemu_batch_wait(struct qemu *q, const struct qemu_batch *b, int64_t deadline_ns,
		    struct mvm_error *err);

/* saved.c */
int qemu_save_devices(struct vmm *v, int fd, int64_t deadline_ns, struct mvm_error *err);
int64_t qemu_save_pages(const struct vmm_body *b, int to_fd, struct mvm_error *err);
int qemu_load_pages(const struct vmm_body *b, int from_fd, struct mvm_error *err);
int qemu_finish_state(const struct vmm_body *b, int base_fd, int raw_fd, int to_fd,
		      struct mvm_error *err);

#endif
