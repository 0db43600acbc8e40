/* SPDX-License-Identifier: Apache-2.0 */
/* Takes a VM from a pool: the caller's side of CALL_ADOPT (supervisor/standby.c). */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/sock.h"
#include "instance/folder.h"
#include "instance/instance.h"
#include "net/agent.h"
#include "net/wire.h"

/* The record goes by the folder: there no guest can have changed it. */
static int connect_to(int instances_fd, const char *waiting, const char *record, struct control *c,
		      struct mvm_error *err)
{
	AUTO_CLOSE int dir_fd = dir_open_at(instances_fd, waiting);
	int fd = dir_fd < 0 ? dir_fd : sock_connect_at(dir_fd, INSTANCE_SOCKET_NAME);
	int r = fd < 0 ? fd : control_init(c, fd);
	if (r == 0)
		r = instance_folder_put(instances_fd, waiting, dir_fd, INSTANCE_WANTED_NAME,
					record);
	return r < 0 ? mvm_error_set(err, r, "cannot reach '%s': %s", waiting, strerror(-r)) : 0;
}

int instance_adopt(int instances_fd, const char *waiting, const struct record *record,
		   const char *nonce_sha256, int64_t began_ns, int64_t deadline_ns,
		   struct mvm_instance **ret, struct mvm_error *err)
{
	AUTO_DONE(strbuf) args = { 0 };
	AUTO_DONE(strbuf) reply = { 0 };
	AUTO(mvm_instance) i = calloc(1, sizeof(*i));
	AUTO_FREE char *json = record_to_json(record);
	if (!i || !json)
		return mvm_error_oom(err);
	wire_put_str(&args, FIELD_JSON, json);
	wire_put_str(&args, FIELD_NONCE_SHA256, nonce_sha256);
	wire_put_u64(&args, FIELD_TIME_NS, (uint64_t)began_ns);

	i->name = strdup(record->name);
	int r = i->name ? connect_to(instances_fd, waiting, json, &i->control, err)
			: mvm_error_oom(err);
	i->control.name = i->name;
	if (r == 0)
		r = control_call(&i->control, CALL_ADOPT, NULL, &args, deadline_ns, &reply, err);
	if (r < 0)
		return r;
	instance_keep_start(i, &reply);
	control_watch(&i->control, CONTROL_QUIET_MS, CONTROL_ANSWER_MS);
	*ret = TAKE_PTR(i);
	return 0;
}
