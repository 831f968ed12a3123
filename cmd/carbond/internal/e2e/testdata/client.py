"""A client as the users of the old service wrote it.

usage: client.py HOST:PORT DIRECTORY-OF-carbon_service_pb2

Debian's python3-grpcio has no code generator, so the stub below is what
carbon_service_pb2_grpc.py would hold.
"""
import math
import sys

import grpc

sys.path.insert(0, sys.argv[2])
import carbon_service_pb2 as pb  # noqa: E402


class CarbonServiceStub:
    def __init__(self, channel):
        for name, query, reply in [
            ("GetProjects", pb.ProjectQuery, pb.ProjectResponse),
            ("GetNews", pb.NewsQuery, pb.NewsResponse),
            ("GetFinanceData", pb.FinanceQuery, pb.FinanceResponse),
            ("GetProjectDetail", pb.ProjectDetailQuery, pb.ProjectDetailResponse),
            ("GetNonStreamingProjects", pb.ProjectQuery, pb.ProjectResponse),
            ("GetNonStreamingNews", pb.NewsQuery, pb.NewsResponse),
            ("GetNonStreamingFinanceData", pb.FinanceQuery, pb.FinanceResponse),
        ]:
            setattr(self, name, channel.unary_unary(
                "/carbon.CarbonService/" + name,
                request_serializer=query.SerializeToString,
                response_deserializer=reply.FromString))


def equal(got, want):
    assert got == want, f"got {got!r}, want {want!r}"


def status(call, request):
    try:
        call(request, timeout=10)
    except grpc.RpcError as e:
        return e.code()
    return grpc.StatusCode.OK


def run():
    stub = CarbonServiceStub(grpc.insecure_channel(sys.argv[1]))

    for get in stub.GetProjects, stub.GetNonStreamingProjects:
        everything = get(pb.ProjectQuery(), timeout=10)
        equal([p.project_id for p in everything.items], ["VCS-1", "VCS-2", "VCS-3"])
        brazil = get(pb.ProjectQuery(country="Brazil"), timeout=10)
        equal([(p.project_id, p.project_name, p.registry_status, p.country, p.vintage, p.supply) for p in brazil.items], [
            ("VCS-1", "Rio Preto (Carbonmark)", "ACTIVE", "Brazil", 2019, 1500.5),
            ("VCS-3", "Floresta ünïcode 🌳", "RETIRED", "Brazil", 0, 0.0),
        ])
        equal(len(get(pb.ProjectQuery(country="brazil"), timeout=10).items), 0)

    for get in stub.GetNews, stub.GetNonStreamingNews:
        equal([n.guid for n in get(pb.NewsQuery(), timeout=10).items], ["n3", "n2", "n1"])
        equal([(n.guid, n.title, n.link, n.published, n.source, n.summary) for n in get(pb.NewsQuery(source="Reuters"), timeout=10).items], [
            ("n3", "Newest", "https://example.org/3", "Fri, 03 May 2024 10:00:00 GMT", "Reuters", ""),
            ("n1", "Oldest", "https://example.org/1", "Wed, 01 May 2024 10:00:00 GMT", "Reuters", "first"),
        ])

    for get in stub.GetFinanceData, stub.GetNonStreamingFinanceData:
        krbn = get(pb.FinanceQuery(ticker="KRBN"), timeout=10)
        equal(krbn.count, 1)
        q = krbn.items[0]
        equal((q.ticker, q.price, q.volume, q.market_cap, q.change_percent, q.timestamp),
              ("KRBN", 31.42, 123456789012, 2.5e8, -1.25, 1714730400))
        everything = get(pb.FinanceQuery(), timeout=10)
        equal((everything.count, [q.ticker for q in everything.items]), (2, ["GRN", "KRBN"]))
        assert math.isnan(everything.items[0].price)

    detail = stub.GetProjectDetail(pb.ProjectDetailQuery(project_id="VCS-1"), timeout=10).project
    equal((detail.project_name, detail.project_link, detail.source), ("Rio Preto (Carbonmark)", "https://example.org/VCS-1", "verra+carbonmark"))
    equal(stub.GetProjectDetail(pb.ProjectDetailQuery(project_id="VCS-2"), timeout=10).project.source, "verra")
    equal(status(stub.GetProjectDetail, pb.ProjectDetailQuery(project_id="no such")), grpc.StatusCode.NOT_FOUND)
    equal(status(stub.GetProjectDetail, pb.ProjectDetailQuery()), grpc.StatusCode.INVALID_ARGUMENT)
    equal(status(stub.GetProjects, pb.ProjectQuery(page_size=-1)), grpc.StatusCode.INVALID_ARGUMENT)

    page = stub.GetProjects(pb.ProjectQuery(page_size=2), timeout=10)
    rest = stub.GetProjects(pb.ProjectQuery(page_size=2, page_token=page.next_page_token), timeout=10)
    equal([p.project_id for p in list(page.items) + list(rest.items)], ["VCS-1", "VCS-2", "VCS-3"])
    equal(rest.next_page_token, "")

    # The headers of the reply.
    _, call = stub.GetProjects.with_call(pb.ProjectQuery(), timeout=10, metadata=[("cache-control", "no-cache")])
    head = dict(call.initial_metadata())
    equal(head["carbond-cache"], "bypass")
    assert int(head["carbond-offset"]) > 0 and "/" in head["carbond-lsn"] and int(head["carbond-age-ms"]) >= 0, head


run()
print("all answers are right")
