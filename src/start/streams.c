/* SPDX-License-Identifier: Apache-2.0 */
/* Open the streams of mvm/stream.h; src/instance/ has their other functions. */
#include <errno.h>
#include <string.h>

#include "instance/copy.h"
#include "instance/events.h"
#include "instance/exec.h"
#include "instance/logstream.h"
#include "net/wire.h"
#include "start/start.h"

int mvm_exec_start(struct mvm *mvm, const char *instance,
		   const struct mvm_exec_start_options *options, struct mvm_exec **ret,
		   struct mvm_error *err)
{
	struct mvm_instance *i;
	int fd = store_dir_get(mvm->store, STORE_INSTANCES, err);
	int r = fd < 0 ? fd : instance_connect(fd, instance, NULL, &i, err);
	return r < 0 ? r : exec_start(i, options, ret, err);
}

/* Make a call whose stream is driven like a command. */
static int open_call(struct mvm *mvm, const char *instance, unsigned call,
		     const struct strbuf *args, bool input, struct mvm_exec **ret,
		     struct mvm_error *err)
{
	struct mvm_instance *i;
	if (args->failed)
		return mvm_error_oom(err);
	int fd = store_dir_get(mvm->store, STORE_INSTANCES, err);
	int r = fd < 0 ? fd : instance_connect(fd, instance, NULL, &i, err);
	return r < 0 ? r : exec_stream(i, call, args, input, ret, err);
}

int mvm_port_open(struct mvm *mvm, const char *instance, uint16_t port, struct mvm_exec **ret,
		  struct mvm_error *err)
{
	AUTO_DONE(strbuf) args = { 0 };
	if (port == 0)
		return mvm_error_set(err, -EINVAL, "a port is from 1 to 65535");
	wire_put_u64(&args, FIELD_PORT, port);
	return open_call(mvm, instance, CALL_CONNECT, &args, true, ret, err);
}

static int check_path(const char *path, struct mvm_error *err)
{
	if (path && path[0] == '/')
		return 0;
	return mvm_error_set(err, -EINVAL, "'%s': a path in the guest begins with a slash",
			     path ? path : "");
}

int mvm_tar_read(struct mvm *mvm, const char *instance, const char *guest_path,
		 struct mvm_exec **ret, struct mvm_error *err)
{
	AUTO_DONE(strbuf) args = { 0 };
	int r = check_path(guest_path, err);
	if (r < 0)
		return r;
	AUTO_FREE char *name = copy_means_contents(guest_path) ? strdup(".")
							       : copy_last_name(guest_path);
	if (!name)
		return mvm_error_oom(err);
	wire_put_str(&args, FIELD_PATH, guest_path);
	wire_put_str(&args, FIELD_NAME, name);
	return open_call(mvm, instance, CALL_GET, &args, false, ret, err);
}

int mvm_tar_write(struct mvm *mvm, const char *instance, const char *guest_path,
		  struct mvm_exec **ret, struct mvm_error *err)
{
	AUTO_DONE(strbuf) args = { 0 };
	int r = check_path(guest_path, err);
	if (r < 0)
		return r;
	wire_put_str(&args, FIELD_PATH, guest_path);
	wire_put_u64(&args, FIELD_CONTENTS, 1);
	return open_call(mvm, instance, CALL_PUT, &args, true, ret, err);
}

int mvm_exec_attach(struct mvm *mvm, const char *instance, int64_t pid, struct mvm_exec **ret,
		    struct mvm_error *err)
{
	AUTO_DONE(strbuf) args = { 0 };
	wire_put_u64(&args, FIELD_PID, (uint64_t)pid);
	return open_call(mvm, instance, CALL_KEPT_ATTACH, &args, true, ret, err);
}

int mvm_log_stream_open(struct mvm *mvm, const char *instance,
			const struct mvm_log_stream_options *options, struct mvm_log_stream **ret,
			struct mvm_error *err)
{
	int fd = store_dir_get(mvm->store, STORE_INSTANCES, err);
	return fd < 0 ? fd : log_stream_open(fd, instance, options, ret, err);
}

int mvm_event_stream_open(struct mvm *mvm, const struct mvm_event_stream_options *options,
			  struct mvm_event_stream **ret, struct mvm_error *err)
{
	int fd = store_dir_get(mvm->store, STORE_LOGS, err);
	return fd < 0 ? fd : event_stream_open(fd, options, ret, err);
}
