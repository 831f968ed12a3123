package text

// countryTable has one line per country or territory of ISO 3166-1: the
// spelling that carbond uses, then every other spelling that is known to occur.
const countryTable = `Afghanistan|Islamic Republic of Afghanistan|Islamic Emirate of Afghanistan
Åland Islands
Albania|Republic of Albania
Algeria|People's Democratic Republic of Algeria|Algerie
American Samoa
Andorra|Principality of Andorra
Angola|Republic of Angola
Anguilla
Antarctica
Antigua and Barbuda
Argentina|Argentine Republic
Armenia|Republic of Armenia
Aruba
Australia|Commonwealth of Australia
Austria|Republic of Austria
Azerbaijan|Republic of Azerbaijan
Bahamas|Commonwealth of the Bahamas
Bahrain|Kingdom of Bahrain
Bangladesh|People's Republic of Bangladesh
Barbados
Belarus|Republic of Belarus|Byelorussia
Belgium|Kingdom of Belgium
Belize
Benin|Republic of Benin
Bermuda
Bhutan|Kingdom of Bhutan
Bolivia|Bolivia, Plurinational State of|Bolivia (Plurinational State of)
Bonaire, Sint Eustatius and Saba|Caribbean Netherlands
Bosnia and Herzegovina|Bosnia|Bosnia-Herzegovina
Botswana|Republic of Botswana
Bouvet Island
Brazil|Brasil|Federative Republic of Brazil
British Indian Ocean Territory
Brunei Darussalam|Brunei|Negara Brunei Darussalam
Bulgaria|Republic of Bulgaria
Burkina Faso
Burundi|Republic of Burundi
Cabo Verde|Cape Verde|Republic of Cabo Verde
Cambodia|Kingdom of Cambodia|Kampuchea
Cameroon|Republic of Cameroon|Cameroun
Canada
Cayman Islands
Central African Republic|CAR
Chad|Republic of Chad|Tchad
Chile|Republic of Chile
China|People's Republic of China|PR China|PRC|China, People's Republic of|Mainland China
Christmas Island
Cocos (Keeling) Islands|Cocos Islands|Keeling Islands
Colombia|Republic of Colombia
Comoros|Union of the Comoros
Congo|Republic of the Congo|Congo, Republic of the|Congo Republic|Congo-Brazzaville|Congo (Brazzaville)
Democratic Republic of the Congo|Congo, The Democratic Republic of the|Congo, Democratic Republic of|Congo (Democratic Republic of the)|DR Congo|Congo, DR|DRC|Congo-Kinshasa|Congo (Kinshasa)|Congo, Dem. Rep.|Dem. Rep. Congo|Zaire
Cook Islands
Costa Rica|Republic of Costa Rica
Côte d'Ivoire|Cote d'Ivoire|Cote d Ivoire|Ivory Coast|Republic of Côte d'Ivoire
Croatia|Republic of Croatia|Hrvatska
Cuba|Republic of Cuba
Curaçao
Cyprus|Republic of Cyprus
Czechia|Czech Republic
Denmark|Kingdom of Denmark
Djibouti|Republic of Djibouti
Dominica|Commonwealth of Dominica
Dominican Republic
Ecuador|Republic of Ecuador
Egypt|Arab Republic of Egypt|Egypt, Arab Rep.
El Salvador|Republic of El Salvador
Equatorial Guinea|Republic of Equatorial Guinea
Eritrea|State of Eritrea
Estonia|Republic of Estonia
Eswatini|Swaziland|Kingdom of Eswatini
Ethiopia|Federal Democratic Republic of Ethiopia
Falkland Islands|Falkland Islands (Malvinas)|Malvinas
Faroe Islands|Faeroe Islands
Fiji|Republic of Fiji
Finland|Republic of Finland
France|French Republic|Metropolitan France
French Guiana|Guyane
French Polynesia
French Southern Territories
Gabon|Gabonese Republic
Gambia|The Gambia|Republic of the Gambia
Georgia
Germany|Federal Republic of Germany|Deutschland
Ghana|Republic of Ghana
Gibraltar
Greece|Hellenic Republic
Greenland
Grenada
Guadeloupe
Guam
Guatemala|Republic of Guatemala
Guernsey
Guinea|Republic of Guinea|Guinea-Conakry
Guinea-Bissau|Republic of Guinea-Bissau
Guyana|Co-operative Republic of Guyana
Haiti|Republic of Haiti
Heard Island and McDonald Islands
Holy See|Vatican|Vatican City|Vatican City State|Holy See (Vatican City State)
Honduras|Republic of Honduras
Hong Kong|Hong Kong SAR|Hong Kong, China|China, Hong Kong SAR|Hong Kong Special Administrative Region of China
Hungary
Iceland|Republic of Iceland
India|Republic of India|Bharat
Indonesia|Republic of Indonesia
Iran|Iran, Islamic Republic of|Iran (Islamic Republic of)
Iraq|Republic of Iraq
Ireland|Republic of Ireland|Eire
Isle of Man
Israel|State of Israel
Italy|Italian Republic|Italia
Jamaica
Japan
Jersey
Jordan|Hashemite Kingdom of Jordan
Kazakhstan|Republic of Kazakhstan
Kenya|Republic of Kenya
Kiribati|Republic of Kiribati
North Korea|Korea, Democratic People's Republic of|Democratic People's Republic of Korea|DPRK|Korea, DPR|Korea, North
South Korea|Korea, Republic of|Republic of Korea|Korea, South|ROK|Korea
Kosovo|Republic of Kosovo
Kuwait|State of Kuwait
Kyrgyzstan|Kyrgyz Republic|Kirghizia|Kirgizstan
Laos|Lao People's Democratic Republic|Lao PDR|Lao
Latvia|Republic of Latvia
Lebanon|Lebanese Republic
Lesotho|Kingdom of Lesotho
Liberia|Republic of Liberia
Libya|State of Libya|Libyan Arab Jamahiriya
Liechtenstein|Principality of Liechtenstein
Lithuania|Republic of Lithuania
Luxembourg|Grand Duchy of Luxembourg
Macao|Macau|Macao SAR|China, Macao SAR|Macao, China
Madagascar|Republic of Madagascar
Malawi|Republic of Malawi
Malaysia
Maldives|Republic of Maldives
Mali|Republic of Mali
Malta|Republic of Malta
Marshall Islands|Republic of the Marshall Islands
Martinique
Mauritania|Islamic Republic of Mauritania
Mauritius|Republic of Mauritius
Mayotte
Mexico|United Mexican States|México
Micronesia|Micronesia, Federated States of|Micronesia (Federated States of)
Moldova|Moldova, Republic of|Republic of Moldova
Monaco|Principality of Monaco
Mongolia
Montenegro
Montserrat
Morocco|Kingdom of Morocco|Maroc
Mozambique|Republic of Mozambique|Moçambique
Myanmar|Burma|Republic of the Union of Myanmar|Myanmar (Burma)|Burma (Myanmar)
Namibia|Republic of Namibia
Nauru|Republic of Nauru
Nepal|Federal Democratic Republic of Nepal
Netherlands|Kingdom of the Netherlands|Holland|Netherlands, Kingdom of the
New Caledonia
New Zealand|Aotearoa|Aotearoa New Zealand
Nicaragua|Republic of Nicaragua
Niger|Republic of the Niger
Nigeria|Federal Republic of Nigeria
Niue
Norfolk Island
North Macedonia|Macedonia|Republic of North Macedonia|Macedonia, the former Yugoslav Republic of|FYROM|FYR Macedonia
Northern Mariana Islands|Commonwealth of the Northern Mariana Islands
Norway|Kingdom of Norway
Oman|Sultanate of Oman
Pakistan|Islamic Republic of Pakistan
Palau|Republic of Palau
Palestine|Palestine, State of|State of Palestine|Palestinian Territory|Palestinian Territory, Occupied|Occupied Palestinian Territory|West Bank and Gaza
Panama|Republic of Panama
Papua New Guinea|PNG|Independent State of Papua New Guinea
Paraguay|Republic of Paraguay
Peru|Republic of Peru
Philippines|Republic of the Philippines
Pitcairn|Pitcairn Islands
Poland|Republic of Poland
Portugal|Portuguese Republic
Puerto Rico
Qatar|State of Qatar
Réunion|La Réunion
Romania|Rumania
Russian Federation|Russia
Rwanda|Republic of Rwanda
Saint Barthélemy
Saint Helena, Ascension and Tristan da Cunha|Saint Helena|St Helena, Ascension and Tristan da Cunha
Saint Kitts and Nevis|St. Kitts and Nevis|St. Kitts & Nevis
Saint Lucia|St. Lucia
Saint Martin|Saint Martin (French part)
Saint Pierre and Miquelon
Saint Vincent and the Grenadines|St. Vincent and the Grenadines
Samoa|Western Samoa|Independent State of Samoa
San Marino|Republic of San Marino
Sao Tome and Principe|São Tomé and Príncipe|Democratic Republic of Sao Tome and Principe
Saudi Arabia|Kingdom of Saudi Arabia|KSA
Senegal|Republic of Senegal
Serbia|Republic of Serbia
Seychelles|Republic of Seychelles
Sierra Leone|Republic of Sierra Leone
Singapore|Republic of Singapore
Sint Maarten|Sint Maarten (Dutch part)
Slovakia|Slovak Republic
Slovenia|Republic of Slovenia
Solomon Islands
Somalia|Federal Republic of Somalia
South Africa|Republic of South Africa|RSA
South Georgia and the South Sandwich Islands
South Sudan|Republic of South Sudan
Spain|Kingdom of Spain|España
Sri Lanka|Democratic Socialist Republic of Sri Lanka|Ceylon
Sudan|Republic of the Sudan
Suriname|Republic of Suriname|Surinam
Svalbard and Jan Mayen
Sweden|Kingdom of Sweden
Switzerland|Swiss Confederation
Syria|Syrian Arab Republic
Taiwan|Taiwan, Province of China|Taiwan (Province of China)|Chinese Taipei|Taiwan, China|Taiwan, Republic of China
Tajikistan|Republic of Tajikistan
Tanzania|Tanzania, United Republic of|United Republic of Tanzania
Thailand|Kingdom of Thailand
Timor-Leste|East Timor|Democratic Republic of Timor-Leste
Togo|Togolese Republic
Tokelau
Tonga|Kingdom of Tonga
Trinidad and Tobago|Republic of Trinidad and Tobago
Tunisia|Republic of Tunisia|Tunisian Republic
Türkiye|Turkey|Turkiye|Republic of Türkiye|Republic of Turkey
Turkmenistan
Turks and Caicos Islands
Tuvalu
Uganda|Republic of Uganda
Ukraine
United Arab Emirates|UAE
United Kingdom|United Kingdom of Great Britain and Northern Ireland|UK|U.K.|Great Britain|Britain|England|Scotland|Wales|Northern Ireland
United States of America|United States|USA|U.S.A.|US|U.S.|America
United States Minor Outlying Islands|US Minor Outlying Islands
Uruguay|Eastern Republic of Uruguay|Oriental Republic of Uruguay
Uzbekistan|Republic of Uzbekistan
Vanuatu|Republic of Vanuatu
Venezuela|Venezuela, Bolivarian Republic of|Venezuela (Bolivarian Republic of)|Venezuela, RB
Viet Nam|Vietnam|Socialist Republic of Viet Nam|Socialist Republic of Vietnam
British Virgin Islands|Virgin Islands, British|Virgin Islands (British)|BVI
United States Virgin Islands|Virgin Islands, U.S.|Virgin Islands (U.S.)|US Virgin Islands
Wallis and Futuna|Wallis and Futuna Islands
Western Sahara
Yemen|Republic of Yemen
Zambia|Republic of Zambia
Zimbabwe|Republic of Zimbabwe`
