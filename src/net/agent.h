/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_AGENT_H
#define NET_AGENT_H

/*
 * The agent protocol, version 1, between host and guest over the agent's port.  A client (the mvm
 * command) and an instance's control socket use the same frames.  The supervisor answers the calls
 * from CALL_HOST_FIRST on and passes the others to the guest.
 * doc/agent-protocol.md is the specification; change both together.
 *
 * After boot the agent sends FRAME_HELLO on stream 0.  From then on the host opens streams: it
 * picks an id that is not in use (never 0) and sends FRAME_CALL.  The agent answers with one
 * FRAME_REPLY.  For CALL_EXEC a reply with status 0 means "started"; FRAME_DATA in both directions
 * follow, and FRAME_END closes the stream.  For every other call, and for a reply with another
 * status, the reply itself closes the stream.  FRAME_RESET from the host cancels a stream, of
 * CALL_EXEC or another call: the agent kills its processes and answers FRAME_END with FIELD_SIGNAL.
 * After that END the id is free again.  The agent ignores a reset that crosses the stream's closing
 * frame: that frame is then the answer, and no further END comes.
 *
 * Flow control: FRAME_DATA counts against the receiver's window, per stream and direction (all
 * output channels of a stream share one window); the channel byte is not counted.  A window starts
 * at WINDOW_BYTES and grows by FRAME_CREDIT, which the receiver sends once it has consumed bytes
 * (written them to the process, or to the client).  A sender that exceeds the window breaks the
 * protocol: the agent ends that stream as if it had been reset.
 */

#define AGENT_PROTOCOL	 1u
#define AGENT_PORT_NAME	 "dev.mvm.agent"
#define AGENT_VSOCK_PORT 10240u
/* The agent exits with this status when no timer fires, because such a guest would sleep for ever.
 * The kernel then panics.  A reboot may well bring a working timer. */
#define AGENT_EXIT_NO_TIMER 69
#define WINDOW_BYTES	    262144u
/* The agent runs commands that do nothing in advance.  Their frames go to this stream, which no
 * host opens, and which every host ignores. */
#define REHEARSAL_STREAM UINT32_C(0xffffffff)
#define NOTE_MAX	 2048u	/* bytes of a FIELD_NOTE */
#define DATA_MAX	 32768u /* bytes of one FRAME_DATA, its channel byte not counted */

enum frame_type {
	FRAME_HELLO = 1,  /* agent -> host, stream 0: PROTOCOL, VERSION, KERNEL */
	FRAME_CALL = 2,	  /* host -> agent: CALL and the arguments of that call */
	FRAME_REPLY = 3,  /* agent -> host: STATUS, MESSAGE if not 0, results */
	FRAME_DATA = 4,	  /* u8 channel, then bytes; no bytes: end of that channel */
	FRAME_CREDIT = 5, /* u32 little-endian: bytes consumed */
	FRAME_SIGNAL = 6, /* host -> agent: u8 signal number, for the stream's processes */
	FRAME_RESIZE = 7, /* host -> agent: u16 rows, u16 columns */
	FRAME_END = 8,	  /* agent -> host: EXIT_CODE or SIGNAL */
	FRAME_RESET = 9,  /* host -> agent: cancel the stream; no payload */
	FRAME_LOG = 10,	  /* agent -> host, stream 0: output of the workload */
};

enum data_channel {
	DATA_STDIN = 0,
	DATA_STDOUT = 1,
	DATA_STDERR = 2,
};

enum agent_call {
	/*
	 * Proof of life.  Result: TIME_NS (guest's wall clock), UPTIME_NS, FROZEN (0 or 1).
	 */
	CALL_PING = 1,
	/*
	 * Set the guest's identity and workload, once, right after HELLO of a cold boot and before
	 * any workload runs.  HOSTNAME, MACHINE_ID (32 hex digits), ENTROPY, TIME_NS, GENERATION
	 * (text), the network (ADDRESS "10.0.2.15/24", GATEWAY, DNS, all absent without one), the
	 * workload (ARG repeated, ENV repeated "K=V", WORKDIR, which is created if it is missing,
	 * USER; no ARG: the image's own init; an ARG that names an init: PID 1 as well),
	 * RESTORE_ARG repeated (on_restore), or RESTORE_RESTART or RESTORE_SIGNAL in its place.
	 * The reply comes when the workload has been started.  Result: STAGE repeated
	 * "name=nanoseconds" since the kernel started.
	 *
	 * With NO_WORKLOAD 1 no workload is started, and the reply has NO_WORKLOAD 1 as well.  One
	 * without is of an older agent, which has started it.
	 */
	CALL_CONFIGURE = 2,
	/*
	 * Wait until the guest is healthy: HEALTH_HTTP (url), HEALTH_TCP (port) or ARG repeated
	 * (a command); none of them: healthy at once.  INTERVAL_MS between attempts, TIMEOUT_MS
	 * overall.  STATUS 0, or ETIMEDOUT with the last answer in MESSAGE; ESRCH when the
	 * workload has ended (its status in MESSAGE).
	 */
	CALL_HEALTH = 3,
	/*
	 * Run a command.  ARG repeated, ENV repeated, WORKDIR and USER (else the workload's), TTY
	 * (1), ROWS, COLUMNS, STDIN (1: the host will send it; 0 or absent: /dev/null).  Reply:
	 * STATUS 0 and PID; or ENOENT (no such program: 127), EACCES and others (cannot be
	 * executed: 126; ENOTDIR: no such WORKDIR; EINVAL: no such USER) with MESSAGE.  EBUSY: not
	 * configured, or frozen.
	 */
	CALL_EXEC = 4,
	/*
	 * Get ready for a snapshot: wait until the guest is idle, freeze every process but the
	 * agent, sync, trim, drop caches, run commands that do nothing (guest/rehearse.h), write
	 * zeros over free memory (at most MEMORY_BYTES of it; absent: none), make 32 random bytes
	 * that live only in the agent's memory.  Result: NONCE.  EBUSY while other streams are
	 * open, because a restored clone could not serve them.  From the call until its reply the
	 * host sends nothing, so that the snapshot cuts no frame.
	 *
	 * After a CONFIGURE with HOLD 1 and no START, the workload is captured before its start:
	 * its program's files are read last, and each clone starts it.
	 */
	CALL_PREPARE = 5,
	/*
	 * The first call in a restored clone: take an identity of its own.  HOSTNAME,
	 * MACHINE_ID, ENTROPY, TIME_NS, GENERATION, the network as above.  In this order:
	 * entropy in and reseed, clock, hostname, machine-id, generation file, boot id, network,
	 * thaw, start on_restore and wait for it.  Or, as CONFIGURE said: kill the workload before
	 * the thaw and start it anew after it; send it a signal; start it for the first time.  ENV
	 * is for a workload that starts here, and replaces all that CONFIGURE gave.  NO_WORKLOAD 1:
	 * one that would start here does not; the reply is as of CONFIGURE.
	 * Result: NONCE (the one made by PREPARE).  A
	 * non-zero STATUS means that the clone must not be used (EIO: on_restore failed).
	 */
	CALL_RESTORED = 6,
	/*
	 * Undo PREPARE in the captured machine: thaw.  After FREEZE first do what the host asks
	 * for, because the guest has been away: ENTROPY in and reseed, set the clock to TIME_NS,
	 * SEVER 1: reset the connections that leave the guest.  Result: NONCE (of PREPARE or
	 * FREEZE).
	 */
	CALL_THAW = 7,
	/* Sync and power off.  The reply comes first.  An init as PID 1, such as systemd, is asked
	 * to shut down properly.  Processes that still run after TIMEOUT_MS (optional) are
	 * killed. */
	CALL_SHUTDOWN = 8,
	/*
	 * Copy files into the guest: a stream as of CALL_EXEC whose stdin is a tar.  PATH: an
	 * existing folder to unpack into, else the new name of the tar's only entry; CONTENTS 1:
	 * the folder for all entries, made if missing.  The reply has HOLES 1 if the tar may have
	 * sparse files; older agents take none.  The end's EXIT_CODE is 0 or an errno; stderr
	 * describes it.
	 */
	CALL_PUT = 9,
	/*
	 * Copy files out of the guest: a stream whose stdout is a tar of PATH.  NAME: PATH's name
	 * in the tar, "." for the contents of a folder; FOLLOW 1: follow PATH if it is a link;
	 * HOLES 1: send a sparse file's data without its holes.
	 */
	CALL_GET = 10,

	/*
	 * Set the guest's wall clock to TIME_NS if the clock is behind.  Do not set it back,
	 * because the call took an unknown time to arrive.  BACK 1: set it back as well, because
	 * the host's own clock went back.  EBUSY: not configured, or frozen.
	 */
	CALL_CLOCK = 11,

	/*
	 * Do the work of CALL_RESTORED, with its arguments, but thaw nothing and run nothing: the
	 * guest stays frozen, and a CALL_RESTORED with its real identity follows.  Then run
	 * commands that do nothing (guest/rehearse.h).  This warms the code and pages that
	 * CALL_RESTORED and a first CALL_EXEC need.  Result: NONCE.
	 */
	CALL_REHEARSE = 12,

	/*
	 * Wait until the workload's command has ended; returns at once if it already has.  Result:
	 * EXIT_CODE or SIGNAL.  EINVAL: no command, because an init is PID 1 or nothing runs.
	 */
	CALL_AWAIT = 13,

	/*
	 * Send SIGNAL to the workload's first process, or to the image's own init.  ESRCH: the
	 * workload has ended, or there was none.
	 */
	CALL_SIGNAL = 14,

	/*
	 * List the guest's processes, without kernel threads.  Results: ARG, a list of "PID PPID
	 * UID STATE TICKS PAGES COMMAND", as many as fit; TIME_NS, the length of a tick;
	 * MEMORY_BYTES, the size of a page.
	 */
	CALL_PROCESSES = 15,

	/*
	 * Start what CONFIGURE or RESTORED with HOLD 1 held back: the workload, or thaw and
	 * on_restore.  The replies to those calls then have HOLD 1 as well.  Replies of older
	 * agents lack it: there everything runs already.  Until this call the agent answers only
	 * PUT.
	 */
	CALL_START = 16,

	/*
	 * Send the root file system: a stream as of CALL_GET whose tar has owners, hard links,
	 * devices and extended attributes.  All processes but the agent's are frozen until the
	 * stream ends.  The tar has the overlay alone, without what is mounted on it.  What mvm
	 * writes into a guest's root, and the ARGs, paths of volumes, come from the image below.
	 * Meanwhile EXEC, HEALTH, PUT, GET, PREPARE, FREEZE and COMMIT are EBUSY.
	 */
	CALL_COMMIT = 17,

	/*
	 * Get ready to be suspended or forked: freeze every process but the agent and make 32
	 * random bytes, as PREPARE does, but change nothing else in the guest.  SYNC 1: write
	 * everything to the disks, because the guest may never go on.  THAW follows here,
	 * and RESTORED in a fork, which then first resets the connections that leave the guest.
	 * Results: NONCE; TIME_NS, for how long the processes stand still by now.  EBUSY and the
	 * silence until the reply as for PREPARE.
	 */
	CALL_FREEZE = 18,

	/*
	 * Run a command as CALL_EXEC does, and keep it: it outlives the stream, which is its first
	 * viewer.  RESET only ends the viewer.  NOTE: a text of the host's for KEPT_LIST;
	 * TIMEOUT_MS: the agent kills it then.  At most 256 run at once (EBUSY).
	 */
	CALL_KEPT_START = 19,
	/*
	 * Look at the kept command with this PID: a stream as of KEPT_START.  Its output from now
	 * on goes to all viewers, as fast as the slowest takes it.  The ends of the last 32 are
	 * kept, so the stream may end at once.  ENOENT: no such one.
	 */
	CALL_KEPT_ATTACH = 20,
	/* List the kept commands that run: PID and NOTE of each, in turn, as many as fit. */
	CALL_KEPT_LIST = 21,
	/*
	 * Do something with files: a stream as of CALL_EXEC, whose ARGs are a verb and its
	 * arguments (guest/files.h).  The agent itself does it, as root; new files belong to USER.
	 * The end's EXIT_CODE is 0 or an errno, which standard error explains in one sentence.
	 */
	CALL_FILES = 22,
	/*
	 * Connect to PORT of the guest's loopback: a stream as of CALL_EXEC whose stdin and stdout
	 * are the connection.  The reply comes when the connection stands; ECONNREFUSED: nothing
	 * listens there.  The end of stdin is the end of what the host sends.  The stream ends
	 * when the server has closed its side: EXIT_CODE 0, or an errno.
	 */
	CALL_CONNECT = 23,

	CALL_HOST_FIRST = 64,
	/* The instance's state, as the text of instance.json.  Result: JSON. */
	CALL_INSPECT = 64,
	/* Shut the guest down; TIMEOUT_MS, then kill.  The reply comes when the VMM is gone. */
	CALL_STOP = 65,
	/* Freeze and unfreeze the virtual CPUs. */
	CALL_PAUSE = 66,
	CALL_RESUME = 67,
	/* Capture device state and memory into the folder given at the machine's start.  Result:
	 * NONCE, TIME_NS (how long the guest prepared).  The guest stays paused. */
	CALL_CAPTURE = 68,
	/* Wait until the VM has ended. */
	CALL_WAIT = 69,
	/*
	 * Turn a VM of the pool into the caller's instance.  JSON: its record; NONCE_SHA256: of the
	 * wanted snapshot; TIME_NS: when the caller began, monotonic.  From this call on the caller
	 * holds the VM's leash.  After a STATUS other than 0 the VM ends.
	 */
	CALL_ADOPT = 70,
	CALL_KEEP = 71,
	/* Wait until the logs were given more output than the caller has seen.  SIZE: the bytes of
	 * the last reply; none at first.  Result: SIZE, the bytes by now.  One at a time for each
	 * connection. */
	CALL_LOGS = 72,
	/* Give the VM other rules for its network, in place of all that it has.  JSON: "allow" and
	 * "deny", lists of rules (model/policy.h); "add": true keeps those that it has. */
	CALL_NETWORK = 73,
	/* Proof of life of the supervisor itself, which it gives at once, whatever it does.  One
	 * that does not know this call refuses it at once, which is as good. */
	CALL_ALIVE = 74,
	/* Rename the instance to NAME, which the client has left in its folder
	 * (instance/rename.c). */
	CALL_RENAME = 75,
	/* Keep the VM's state in its folder and end it.  The reply comes when the VMM is gone. */
	CALL_SUSPEND = 76,
	/* Keep a copy of the VM's state for forks, which goes when the caller hangs up.  The VM
	 * runs on.  Result: NAME, of the folder below the instance's; TIME_NS, how long the virtual
	 * CPUs stood still. */
	CALL_FORK = 77,
	/* Let the VM live for TIMEOUT_MS from now on, in place of what is left of its time to live;
	 * 0: without an end.  Its action stays. */
	CALL_TTL = 78,
};

/* The longest time of CALL_TTL: in nanoseconds it is an int64_t still. */
#define TTL_MAX_MS (INT64_MAX / 1000000)

enum agent_field {
	FIELD_CALL = 1, /* number */
	FIELD_STATUS,	/* number: 0 or a positive errno */
	FIELD_MESSAGE,	/* text for people */
	FIELD_PROTOCOL, /* number */
	FIELD_VERSION,	/* text: mvm's version */
	FIELD_KERNEL,	/* text: uname release */
	FIELD_TIME_NS,
	FIELD_UPTIME_NS,
	FIELD_FROZEN,
	FIELD_HOSTNAME,
	FIELD_MACHINE_ID,
	FIELD_ENTROPY, /* 32 to 512 bytes */
	FIELD_GENERATION,
	FIELD_ADDRESS,
	FIELD_GATEWAY,
	FIELD_DNS,
	FIELD_ARG,
	FIELD_ENV,
	FIELD_WORKDIR,
	FIELD_USER,
	FIELD_RESTORE_ARG,
	FIELD_STAGE,
	FIELD_HEALTH_HTTP,
	FIELD_HEALTH_TCP,
	FIELD_INTERVAL_MS,
	FIELD_TIMEOUT_MS,
	FIELD_TTY,
	FIELD_ROWS,
	FIELD_COLUMNS,
	FIELD_STDIN,
	FIELD_PID,
	FIELD_NONCE, /* 32 bytes */
	FIELD_EXIT_CODE,
	FIELD_SIGNAL,
	FIELD_JSON,
	FIELD_PATH, /* text: an absolute path in the guest */
	FIELD_NAME,
	FIELD_CONTENTS,	    /* 0 or 1 */
	FIELD_FOLLOW,	    /* 0 or 1 */
	FIELD_NONCE_SHA256, /* 64 hex digits */
	FIELD_MEMORY_BYTES,
	FIELD_BOOT_ID,	       /* text: a UUID */
	FIELD_BACK,	       /* 0 or 1 */
	FIELD_HOLD,	       /* 0 or 1 */
	FIELD_OWNER,	       /* enum put_owner */
	FIELD_SIZE,	       /* bytes */
	FIELD_REASON,	       /* text: an error's reason, as in mvm/error.h */
	FIELD_RESTORE_SIGNAL,  /* number: the workload gets it in a clone */
	FIELD_RESTORE_RESTART, /* 0 or 1: the workload begins anew in a clone */
	FIELD_HOLES,	       /* 0 or 1: the stream's reader takes sparse files (copy/tar.h) */
	FIELD_NO_WORKLOAD,     /* 0 or 1 */
	FIELD_SEVER,	       /* 0 or 1 */
	FIELD_SYNC,	       /* 0 or 1 */
	FIELD_NOTE,	       /* text of the host's about a kept command */
	FIELD_PORT,	       /* 1 to 65535 */
	FIELD_ENDED,	       /* 0 or 1: a kept command that is attached to */
	FIELD_INPUT_ENDED,     /* 0 or 1: likewise; nothing reads what is sent to it */
};

/* Who owns the files of a CALL_PUT in the guest. */
enum put_owner {
	OWNER_ROOT = 0,
	OWNER_WORKLOAD = 1, /* new files and folders belong to the workload's user */
	OWNER_FOLDERS = 2,  /* existing folders too, PATH among them */
};

#endif
