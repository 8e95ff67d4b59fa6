/* test_mlflow_login.c - who we are to an MLflow server: names, passwords, tokens, certificates, and wrong addresses. */
#include "tests/mlflow_fake_support.h"
#include "track/mlflow/client.h"

TestSuite(mlflow, .init = start, .fini = stop, .timeout = 180);
TestSuite(mlflow_login, .init = set_up, .fini = stop, .timeout = 180);

static tarn_mlflow_client *open_client(const char *address)
{
    tarn_mlflow_client *client;
    char notice[TARN_SINK_PROBLEM], problem[TARN_SINK_PROBLEM];
    cr_assert_eq(tarn_mlflow_client_open(&client, address, notice, problem), TARN_OK, "%s", problem);
    return client;
}

static void expect_login(const char *address, const char *url_login, const char *login, const char *token)
{
    tarn_mlflow_client *client = open_client(address);
    cr_expect_str_eq(client->url_login ? client->url_login : "", url_login);
    cr_expect_str_eq(client->login ? client->login : "", login);
    cr_expect_str_eq(client->authorization ? client->authorization : "", token);
    cr_expect_str_eq(client->base, "http://host:5000/a");
    tarn_mlflow_client_close(client);
}

Test(mlflow_login, logins_have_mlflows_precedence)
{
    char *directory = tarn_test_format("%s/.mlflow", folder), *path = tarn_test_format("%s/credentials", directory);
    expect_login("http://host:5000/a/", "", "", "");
    setenv("MLFLOW_TRACKING_TOKEN", "secret", 1);
    expect_login("http://host:5000/a", "", "", "Authorization: Bearer secret");
    setenv("MLFLOW_TRACKING_USERNAME", "mo", 1); /* without a password: no login */
    expect_login("HTTP://host:5000/a//", "", "", "Authorization: Bearer secret");
    mkdir(directory, 0777);
    static const char text[] = "# mine\n[other]\nmlflow_tracking_password = no\n[mlflow]\nmlflow_tracking_username = "
                               "file\nMLFLOW_TRACKING_PASSWORD : 100%% sure\n";
    cr_assert(tarn_test_write(path, text, sizeof text - 1));
    expect_login("http://host:5000/a", "", "mo:100% sure", ""); /* a complete login goes over the token */
    unsetenv("MLFLOW_TRACKING_USERNAME");
    expect_login("http://host:5000/a", "", "file:100% sure", "");
    setenv("MLFLOW_TRACKING_PASSWORD", "env", 1);
    expect_login("http://url:p%40ss%2@host:5000/a", "url:p@ss%2", "file:env", "");
    free(directory);
    free(path);
}

Test(mlflow_login, what_is_wrong_by_itself_is_told_without_secrets)
{
    static const struct {
        const char *address, *words;
    } wrong[] = {{"http://user:secret@", "names no host"}, {"http://user:secret@/path", "names no host"},
                 {"https://:5000", "names no host"},       {"http://user:secret@host?x=1", "? or #"},
                 {"http://user:sec ret@host", "blank"},    {"ftp://user:secret@host", "does not begin with"}};
    tarn_mlflow_client *client;
    char notice[TARN_SINK_PROBLEM], problem[TARN_SINK_PROBLEM];
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_expect_eq(tarn_mlflow_client_open(&client, wrong[i].address, notice, problem), TARN_ERROR_CONFIG);
        cr_expect(strstr(problem, wrong[i].words), "%s: %s", wrong[i].address, problem);
        cr_expect_null(strstr(problem, "secret"));
    }
    setenv("MLFLOW_TRACKING_TOKEN", "secret\n", 1);
    cr_expect_eq(tarn_mlflow_client_open(&client, "http://host", notice, problem), TARN_ERROR_CONFIG);
    cr_expect(strstr(problem, "MLFLOW_TRACKING_TOKEN") && !strstr(problem, "secret"), "%s", problem);
    unsetenv("MLFLOW_TRACKING_TOKEN");
    setenv("MLFLOW_TRACKING_INSECURE_TLS", "true", 1);
    setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", "/etc/hostname", 1);
    cr_expect_eq(tarn_mlflow_client_open(&client, "http://host", notice, problem), TARN_ERROR_CONFIG);
    cr_expect(strstr(problem, "only one of them"), "%s", problem);
    unsetenv("MLFLOW_TRACKING_INSECURE_TLS");
    setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", "/nonexistent", 1);
    cr_expect_eq(tarn_mlflow_client_open(&client, "http://host", notice, problem), TARN_ERROR_CONFIG);
    cr_expect(strstr(problem, "/nonexistent"), "%s", problem);
    tarn_sink *sink = (tarn_sink *)1;
    cr_expect_eq(tarn_mlflow_sink_open(&sink, &(tarn_track_options){.store = "/a/path"},
                                       &(tarn_sink_run){.run_id = "x", .experiment = "x", .state = state}, notice,
                                       problem),
                 TARN_OK);
    cr_expect_null(sink);
}

/* The login goes out as mlflow sends it, and never into a message. */
Test(mlflow, logins_arrive)
{
    setenv("MLFLOW_TRACKING_TOKEN", "t0k3n", 1);
    tarn_test_event(events, TARN_TRACK_BEGIN, NULL, TARN_TEST_START);
    tarn_sink *sink = tarn_test_sink(server.address, state, NULL);
    deliver(sink);
    sink->destroy(sink);
    cr_expect(tarn_test_server_requests(&server, "Bearer t0k3n"));
    char *address = tarn_test_format("http://us%%40er:secret@%s", server.address + 7);
    sink = tarn_test_sink(address, state, NULL);
    tarn_sink_report report;
    tarn_test_server_mode(&server, "401");
    sink->write(sink, events->at, 1, &report);
    cr_expect(strstr(report.problem, "You are not authenticated"), "%s", report.problem);
    cr_expect(strstr(report.problem, "MLFLOW_TRACKING_USERNAME"), "%s", report.problem);
    cr_expect_null(strstr(report.problem, "secret"), "%s", report.problem);
    cr_expect(tarn_test_server_requests(&server, "Basic dXNAZXI6c2VjcmV0")); /* us@er:secret */
    sink->destroy(sink);
    free(address);
}

Test(mlflow_login, certificates)
{
    server.folder = tarn_test_directory();
    char *certificate = tarn_test_format("%s/cert.pem", server.folder), *output;
    char *client = tarn_test_format("%s/client", server.folder);
    char *command = tarn_test_format("cd %s && openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out pub.pem "
                                     "-days 2 -subj /CN=tarn -addext subjectAltName=IP:127.0.0.1 && cat pub.pem "
                                     "key.pem > cert.pem",
                                     server.folder);
    if (tarn_test_run("openssl version", 20, NULL)) cr_skip_test("there is no openssl program to make certificates");
    cr_assert_eq(tarn_test_run(command, 60, &output), 0, "%s", output);
    cr_assert(tarn_test_write(client, "", 0));
    cr_assert(tarn_test_server_start_script(&server, "mlflow_fake.py"));
    char *address = tarn_test_format("https%s", server.address + 4);
    tarn_test_event(events, TARN_TRACK_BEGIN, NULL, TARN_TEST_START);
    tarn_sink_report report;
    tarn_sink *sink = tarn_test_sink(address, state, NULL);
    sink->write(sink, events->at, 1, &report);
    cr_expect(strstr(report.problem, "MLFLOW_TRACKING_SERVER_CERT_PATH"), "%s", report.problem);
    sink->destroy(sink);
    setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", certificate, 1);
    sink = tarn_test_sink(address, state, NULL); /* the server asks for ours */
    sink->write(sink, events->at, 1, &report);
    cr_expect_eq(report.taken, 0);
    sink->destroy(sink);
    setenv("MLFLOW_TRACKING_CLIENT_CERT_PATH", certificate, 1);
    sink = tarn_test_sink(address, state, NULL);
    cr_expect_eq(deliver(sink), 0);
    sink->destroy(sink);
    unsetenv("MLFLOW_TRACKING_SERVER_CERT_PATH");
    setenv("MLFLOW_TRACKING_INSECURE_TLS", "1", 1);
    sink = tarn_test_sink(address, state, NULL);
    cr_expect_eq(deliver(sink), 0);
    sink->destroy(sink);
    free(certificate);
    free(client);
    free(command);
    free(output);
    free(address);
}
