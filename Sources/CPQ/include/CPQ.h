#ifndef CPQ_H
#define CPQ_H

#include <stddef.h>
#include <stdint.h>

// The client library of PostgreSQL, loaded when it is first asked for: linked, it would bring OpenSSL, Kerberos and LDAP
// into the start of every program that could use it.

/// Whether the library is there, with everything that is needed of it. For any thread.
int cpq_is_there(void);

/// A connection. It belongs to one thread at a time.
typedef struct cpq_connection cpq_connection;
/// What a statement answered.
typedef struct cpq_result cpq_result;

/// What a connection string says for a keyword, to be freed; NULL where it says nothing. `valid` tells whether the string
/// could be read at all.
char *cpq_option(const char *conninfo, const char *keyword, int *valid);

/// Connects, blocking for as long as the library's own time-outs allow. NULL only without memory.
///
/// What the string says goes before `seconds` (a host may take), `name` (of the application), `attributes` (of the session
/// that is wanted), and before half a minute after which a silent network counts as a lost connection.
cpq_connection *cpq_connect(const char *conninfo, const char *seconds, const char *name, const char *attributes,
                            const char *unacknowledged);
/// Connects once more, after a failure, and makes ``cpq_error`` end each line of a server that refuses with the SQLSTATE in
/// the place of words, which are in the server's language. Returns 1 when it is connected now.
int cpq_connect_again(cpq_connection *connection);
void cpq_finish(cpq_connection *connection);
/// Whether the connection is there, by what was last heard of it.
int cpq_is_connected(const cpq_connection *connection);
/// Whether the server that was tried last wanted a password, and was given one or not.
int cpq_was_asked_for_password(const cpq_connection *connection);
/// The last error, for as long as nothing else is done with the connection.
const char *cpq_error(const cpq_connection *connection);
/// Such as 150018.
int cpq_server_version(const cpq_connection *connection);
int cpq_backend_pid(const cpq_connection *connection);
int cpq_socket(const cpq_connection *connection);

/// Statements of which nothing is waited for. Each returns 1, or 0 and there is an error.
int cpq_send_script(cpq_connection *connection, const char *sql);
int cpq_send_prepare(cpq_connection *connection, const char *name, const char *sql);
/// `offsets` say where in `text` the values begin that end with a zero; -1 stands for NULL. At most CPQ_VALUES_LIMIT.
/// With `name`, the statement of that name; else `sql`.
int cpq_send(cpq_connection *connection, const char *name, const char *sql, int count, const char *text,
             const int32_t *offsets);
#define CPQ_VALUES_LIMIT 32

int cpq_enter_pipeline(cpq_connection *connection);
int cpq_exit_pipeline(cpq_connection *connection);
int cpq_sync(cpq_connection *connection);
/// 0 once all is sent, 1 where the socket takes no more for now, -1 and there is an error.
int cpq_flush(cpq_connection *connection);
/// Takes what the socket has.
int cpq_consume(cpq_connection *connection);
/// Whether the next result would have to be waited for.
int cpq_is_busy(cpq_connection *connection);

enum cpq_status {
    CPQ_FAILED = 0,   // an error, or something that nobody asked for
    CPQ_DONE = 1,     // no rows
    CPQ_ROWS = 2,     // rows, or none
    CPQ_SYNC = 3,     // the end of a pipeline
    CPQ_SKIPPED = 4,  // not executed, after an error in the pipeline
};

/// NULL at the end of what one statement answered.
cpq_result *cpq_next_result(cpq_connection *connection);
void cpq_clear(cpq_result *result);
enum cpq_status cpq_result_status(const cpq_result *result);
const char *cpq_result_error(const cpq_result *result);
/// The five characters of SQLSTATE, or NULL.
const char *cpq_result_state(const cpq_result *result);
int cpq_rows(const cpq_result *result);
int cpq_columns(const cpq_result *result);
const char *cpq_column_name(const cpq_result *result, int column);
/// NULL for NULL.
const char *cpq_value(const cpq_result *result, int row, int column, int *length);

/// Takes the notifications that came: returns how many.
int cpq_take_notifications(cpq_connection *connection);

/// A descriptor that another thread can make readable, to end a wait on a socket (eventfd(2)); -1 and errno.
int cpq_waker(void);

#endif
