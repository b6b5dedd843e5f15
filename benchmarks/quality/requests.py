"""Templates of requests for one of five tools, to tune and to test on; none is on two sides."""

from __future__ import annotations

from benchmarks.quality.requests_train import TRAINED
from benchmarks.quality.sides import DEVELOPMENT, HELD_OUT, TRAIN, Sided, lines_of

REQUESTS: dict[str, Sided] = {
    "track_parcel": {
        TRAIN: TRAINED["track_parcel"],
        DEVELOPMENT: lines_of("""
            Can you see where parcel {parcel} is now
            Please track the way of {parcel}
            My parcel {parcel} has not arrived, look where it is
            has anybody seen consignment {parcel}
            {parcel}: sent, lost or stolen?
            which truck carries {parcel}
            I paid for {parcel} weeks ago, show me its path
            """),
        HELD_OUT: lines_of("""
            Any news about shipment {parcel}?
            What happened to {parcel}, nobody brought it
            Please locate {parcel}
            {parcel} was promised for Monday, is it near?
            At which depot does {parcel} sit
            find out whether {parcel} left the warehouse
            The whereabouts of {parcel} would interest us
            Our box {parcel} never came
            """),
    },
    "issue_refund": {
        TRAIN: TRAINED["issue_refund"],
        DEVELOPMENT: lines_of("""
            Send a refund of {euros} to {customer}
            {customer} paid twice, give back {euros}
            Let {customer} have {euros} of the money back
            {euros} too much were billed to {customer}, undo it
            hand {customer} {euros} in cash
            The buyer {customer} gets a rebate of {euros}
            unhappy customer {customer}: {euros} should go back
            """),
        HELD_OUT: lines_of("""
            Transfer {euros} back to client {customer}
            {customer} cancelled, so {euros} must be returned
            Credit {customer} with {euros}
            reverse the charge of {euros} for {customer}
            {euros} go back to {customer}, the lamp was broken
            Buyer {customer} complained: restore the {euros}
            repay {customer} the sum of {euros}
            {customer} deserves {euros} back
            """),
    },
    "schedule_visit": {
        TRAIN: TRAINED["schedule_visit"],
        DEVELOPMENT: lines_of("""
            Plan a technician for {city}, the day is {date}
            Can we visit {city} around {date}
            Arrange an inspection: {city}, {date}
            our crew drives out to {city} {date}
            {city}, {date}: heating inspection
            could the fitter see {city} {date}
            note down an appointment {date}, place {city}
            """),
        HELD_OUT: lines_of("""
            Send an engineer to {city} on {date}
            The plant in {city} must be checked {date}
            Fix an appointment for {date}, {city}
            We promised {city} a mechanic on {date}
            {city} needs a repair crew by {date}
            drive to {city}, they are open {date}
            Enter {date} as our day in {city}
            Maintenance at {city}: {date}
            """),
    },
    "update_contact": {
        TRAIN: TRAINED["update_contact"],
        DEVELOPMENT: lines_of("""
            Correct contact details for {name} to {email}
            {name} says that the mail is {email} now
            The address {email} replaces the old one of {name}
            mails for {name} must go to {email}
            who is {name}? reachable via {email}
            overwrite the address: {name} has {email}
            {email} (that is {name}) is right, the old one is not
            """),
        HELD_OUT: lines_of("""
            {name} now uses {email}
            Replace the entry of {name} by {email}
            Write down {email} as mail of {name}
            {email} is where {name} reads letters
            Please store the fresh mail {email}, person {name}
            {name} switched to {email}
            edit the record: {name}, {email}
            newsletters for {name} go out to {email}
            """),
    },
    "reserve_stock": {
        TRAIN: TRAINED["reserve_stock"],
        DEVELOPMENT: lines_of("""
            Store {quantity} boxes, they are meant for {site}
            Please keep {quantity} units aside, {site} ordered them
            Hold {quantity} pieces until {site} collects
            {quantity} sacks shall not leave the hall, {site} needs them
            the people of {site} asked for {quantity} tyres, keep those
            take {quantity} off the market for {site}
            {site} has first call on {quantity} tubes
            """),
        HELD_OUT: lines_of("""
            Earmark {quantity} cartons for {site}
            {site} wants {quantity} barrels kept
            Lock {quantity} bottles, the store {site} takes them
            Please retain {quantity} parts on behalf of {site}
            {quantity} chairs must wait for {site}
            ring-fence {quantity} drums for {site}
            allocate {quantity} spools to {site}
            {site} books {quantity} lamps from our shelves
            """),
    },
}
LEADS: Sided = {
    TRAIN: [
        *("Hi, ", "Good morning. ", "Quick one: ", "hey team ", "Next: ", "One thing. ", "Help! "),
        *("Friends - ", "To whom it concerns: ", "Today, ", "Important! ", "Office - ", "Hello. "),
        *(
            "",
            "",
            "",
            "",
            "Dear colleague, ",
            "Greetings! ",
            "Good afternoon, ",
            "Question: ",
            "Thanks. ",
        ),
        *(
            "From the front desk: ",
            "For the record, ",
            "If possible: ",
            "hello ",
            "Now: ",
            "Also, ",
        ),
        *(
            "1. ",
            "* ",
            "Could you help? ",
            "Small request. ",
            "Re your call: ",
            "Team, ",
            "Urgently: ",
        ),
        *(
            "Just in: ",
            "Kind regards to all. ",
            "Sir or Madam, ",
            "A customer writes: ",
            "As I said, ",
        ),
    ],
    DEVELOPMENT: ["Dear all, ", "Urgent! ", "Colleagues - "],
    HELD_OUT: [
        "Dear support, ",
        "Morning! ",
        "Attention: ",
        "By the way, ",
        "Please note: ",
        "Sorry to bother you. ",
        "Task: ",
        "Second point - ",
        "Listen: ",
        "Before I forget: ",
    ],
}
